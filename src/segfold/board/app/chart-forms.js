// Forms of charts that several tabs have: rows of dots, heat maps.
"use strict";

(() => {
  const { charts } = segfold;

  // Rows of dots, a row a category, a dot a series: values that need no zero are compared by place, not by length.
  // rows: [text]; series: [{name, style, points: [{row, value, low, high, hover}]}]; axis: title of the values' axis.
  function dots(element, { rows, series, axis, zero = null, log = false, left = 30 }, about) {
    const step = Math.min(0.7 / Math.max(series.length, 1), 0.22);
    const traces = series.map(({ name, style: its, points }, place) => {
      const shift = (place - (series.length - 1) / 2) * step;
      const spread = points.some(({ low }) => low !== undefined && low !== null);
      return {
        type: "scatter",
        mode: "markers",
        name: charts.text(name),
        x: points.map(({ value }) => value),
        y: points.map(({ row }) => row + shift),
        customdata: points.map(({ hover }) => charts.text(hover)),
        hovertemplate: "%{fullData.name}<br>%{customdata}<extra></extra>",
        marker: { color: its.colour, symbol: its.symbol, size: 9 },
        error_x: spread
          ? {
              type: "data",
              symmetric: false,
              array: points.map(({ value, high }) => (high ?? value) - value),
              arrayminus: points.map(({ value, low }) => value - (low ?? value)),
              color: its.colour,
              thickness: 1.5,
              width: 4,
            }
          : undefined,
      };
    });
    const all = series.flatMap(({ points }) =>
      points.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]),
    );
    const layout = (width) => ({
      margin: { l: 20, t: 8, b: 48 },
      shapes: zero === null ? [] : [charts.vertical(zero)],
      xaxis: {
        title: { text: axis },
        ...(log ? { type: "log", dtick: 1 } : charts.around(all)),
        nticks: width < 450 ? 5 : 9,
      },
      yaxis: {
        automargin: true,
        range: [rows.length - 0.5, -0.5],
        tickvals: rows.map((row, place) => place),
        ticktext: rows.map((row) => charts.text(charts.short(row, width < 450 ? 18 : left))),
        tickfont: { color: "var(--ink)", size: 12 },
        fixedrange: true,
      },
    });
    const height = 70 + rows.length * Math.max(24, Math.min(14 * series.length, 64));
    return segfold.chart(element, traces, layout, { height, ...about });
  }

  // A heat map. values: rows of numbers, null for none; scale: [low, high] that the colours span; written: value →
  // text in a cell; hover: (row, column) → text.
  function heat(element, { rows, columns, values, scale, written, hover, below = "", beside = "" }, about) {
    const many = Math.max(rows.length, columns.length);
    const cell = many > 24 ? 16 : many > 12 ? 24 : 40;
    const share = (value) => (value - scale[0]) / Math.max(scale[1] - scale[0], 1e-12);
    const traces = [
      {
        type: "heatmap",
        z: values,
        x: columns.map((each, place) => place),
        y: rows.map((each, place) => place),
        zmin: scale[0],
        zmax: scale[1],
        colorscale: [0, 0.25, 0.5, 0.75, 1].map((at, place) => [at, `var(--heat-${place})`]),
        showscale: false,
        xgap: 1,
        ygap: 1,
        customdata: values.map((line, row) =>
          line.map((each, column) => charts.text(hover(row, column)).replaceAll("\n", "<br>")),
        ),
        hovertemplate: "%{customdata}<extra></extra>",
      },
    ];
    const layout = (width) => {
      const wide = width < 450 ? 12 : 22;
      const room = (width - 40 - 7 * wide) / Math.max(columns.length, 1);
      const annotations = [];
      const longest = Math.max(...values.flat().map((value) => (value === null ? 0 : written(value).length)));
      if (room >= 8 * longest && many <= 30) {
        values.forEach((line, row) =>
          line.forEach((value, column) => {
            if (value === null) return;
            const color = `heat(${share(value).toFixed(3)})`;
            annotations.push({
              x: column,
              y: row,
              text: written(value),
              showarrow: false,
              font: { color, size: 12 },
            });
          }),
        );
      }
      const names = Math.max(...columns.map((each) => Math.min(String(each).length, wide)));
      return {
        annotations,
        margin: { l: 20, r: 8, t: 8, b: 20 },
        xaxis: {
          automargin: true,
          title: { text: below },
          tickvals: columns.map((each, place) => place),
          ticktext: columns.map((each) => charts.text(charts.short(each, wide))),
          tickangle: names * 8 > room ? -45 : 0,
          showgrid: false,
          fixedrange: true,
        },
        yaxis: {
          automargin: true,
          title: { text: beside },
          range: [rows.length - 0.5, -0.5],
          tickvals: rows.map((each, place) => place),
          ticktext: rows.map((each) => charts.text(charts.short(each, wide))),
          showgrid: false,
          fixedrange: true,
        },
      };
    };
    return segfold.chart(element, traces, layout, {
      height: 60 + rows.length * cell + (below ? 24 : 0) + (columns.some((each) => String(each).length > 3) ? 60 : 0),
      ...about,
    });
  }

  Object.assign(segfold.charts, { dots, heat });
})();
