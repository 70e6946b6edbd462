// The start of the page: tabs, theme, keyboard; and, where a server stands behind it, reading the data anew.
"use strict";
