"""How the report looks: light and dark, from a phone's width on."""

STYLE = """
:root {
  --paper: #ffffff; --ink: #1c2227; --faint: #59646e; --line: #d5dbe0; --panel: #f5f7f8;
  --link: #0b5cad;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #00805f; --series-3: #b0508c;
  --series-4: #a87400; --series-5: #2f2f2f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181b; --ink: #e6eaed; --faint: #9ca8b2; --line: #363f46; --panel: #1c2226;
    --link: #7cb8f2;
    --series-0: #56b4e9; --series-1: #ff8c42; --series-2: #2fc79c; --series-3: #e59ac6;
    --series-4: #e6c229; --series-5: #d8d8d8;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.2rem clamp(0.9rem, 3vw, 2rem) 4rem; max-width: 82rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.4rem; overflow-wrap: anywhere; }
h2 {
  font-size: 1.3rem; margin: 2.6rem 0 0.8rem; padding-top: 0.7rem;
  border-top: 2px solid var(--line);
}
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.5rem; }
h4 { font-size: 0.9rem; font-weight: 600; margin: 1.2rem 0 0.3rem; overflow-wrap: anywhere; }
p { margin: 0.4rem 0; max-width: 48rem; }
.note { color: var(--faint); font-size: 0.875rem; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; margin-top: 0.8rem; }
.scroll { overflow-x: auto; max-width: 100%; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); white-space: nowrap; vertical-align: bottom; }
tbody th { font-weight: 600; white-space: nowrap; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
td:not(.number) { min-width: 5.5rem; }
td:last-child:not(.number) { min-width: 16rem; }
.number { text-align: right; white-space: nowrap; }
details { margin: 0.4rem 0; }
summary { cursor: pointer; color: var(--link); }
pre {
  background: var(--panel); padding: 0.8rem; font-size: 0.8rem; line-height: 1.4;
  max-height: 26rem; overflow: auto;
}
figure { margin: 0; min-width: 0; }
.charts {
  display: grid; gap: 1.4rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr));
}
.charts figure { max-width: 30rem; }
.charts figcaption { font-weight: 600; font-size: 0.95rem; }
.charts svg.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--ink); font-size: 12px; }
.chart .grid { stroke: var(--line); }
.chart .axis { stroke: var(--faint); }
.chart .bar { fill: var(--series-0); }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart circle { fill: var(--paper); stroke-width: 1.5; }
.legend {
  list-style: none; margin: 0.2rem 0 0; padding: 0; font-size: 0.85rem;
  display: flex; flex-wrap: wrap; gap: 0.1rem 1rem;
}
.legend svg { width: 2.2em; height: 0.8em; margin-right: 0.35em; }
.pictures {
  display: grid; gap: 0.7rem 0.6rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(46%, 9.4rem), 1fr));
}
.pictures img { display: block; width: 100%; height: auto; background: var(--panel); }
.pictures figure { max-width: 20rem; }
.pictures figcaption { font-size: 0.8rem; line-height: 1.3; margin-top: 0.15rem; }
.pictures b { display: block; }
""" + "".join(f".series-{n} {{ stroke: var(--series-{n}); }}\n" for n in range(6))
