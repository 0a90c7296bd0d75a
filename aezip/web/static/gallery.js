// The gallery: a wall of thumbnails, of which only those in view exist and are asked for, and one
// image in full size with its original beside it. Its data come from the server that serves the
// page, or lie in the page itself.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const embedded = $("data");
  const GAP = 10;
  const SMALL = 96; // pixels a side up to which images are shown as tiles, pixel by pixel
  const CAPTION = 26;
  const WALL = [90, 120, 160, 210, 270, 340, 430]; // heights of the rows of larger images
  const TILE = [32, 48, 64, 84, 112, 168, 252];
  const COARSE = 256; // pixels of the longer side of what is loaded first
  const TOGETHER = 64; // small images that are asked for at once
  const KEPT = 20000; // of them
  const FAST = 3; // pixels a millisecond of scrolling beyond which nothing is loaded

  let archive = null;
  let rows = []; // {number, name, width, height, bytes, mode, quality, error}
  let shown = []; // rows that match the search, in the order chosen
  let psnr = null; // of each row, once asked for: a number, "exact", null (none), "" (not yet)
  let boxes = []; // of each row shown: [x, y, width, height of the picture]
  let tallest = 0;
  let current = 0; // place in `shown` that the keyboard is at
  const items = new Map(); // elements by place in `shown`
  const pictures = new Map(); // of small images, by row

  const decimals = (value, digits) =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const whole = (value) => Math.round(value).toLocaleString("en");
  const short = (bytes) =>
    bytes < 1000 ? `${bytes} B`
      : bytes < 1e6 ? `${decimals(bytes / 1e3, bytes < 1e5 ? 1 : 0)} kB`
        : `${decimals(bytes / 1e6, 1)} MB`;
  const decibels = (value) => (value === "exact" ? "exact" : `${decimals(value, 2)} dB`);

  function thumbnail(row, side) {
    return embedded ? archive.pictures[row.number] : `${address("thumbnail", row)}/${side}`;
  }

  // The side of the thumbnail that a box of so many pixels deserves.
  function deserved(pixels) {
    const wanted = pixels * Math.min(2, window.devicePixelRatio);
    return archive.sides.find((x) => x >= wanted) || archive.sides[archive.sides.length - 1];
  }

  function address(kind, row) {
    return `/${archive.version}/${kind}/${row.number}`;
  }

  async function get(url) {
    let response;
    try {
      response = await fetch(url);
    } catch {
      throw new Error("aezip browse has ended; start it again to see more.");
    }
    if (!response.ok) throw new Error((await response.text()).trim() || response.statusText);
    const found = await response.json();
    trouble("");
    return found;
  }

  // What went wrong is said wherever one has scrolled to, until something goes well again.
  function trouble(text) {
    $("trouble").textContent = text;
    $("trouble").hidden = !text;
  }

  // --- what is shown, and where --------------------------------------------------------------

  async function start() {
    try {
      archive = embedded ? JSON.parse(embedded.textContent) : await get("/archive.json");
    } catch (error) {
      $("summary").textContent = "";
      trouble(error.message);
      return;
    }
    rows = archive.rows.map((cells, number) => {
      if (cells.length === 1) {
        return { number, name: `row ${number}`, width: 1, height: 1, bytes: 0, error: cells[0] };
      }
      const [name, width, height, bytes, mode, quality] = cells;
      return { number, name, width, height, bytes, mode, quality };
    });
    const pixels = rows.reduce((sum, row) => sum + (row.error ? 0 : row.width * row.height), 0);
    const bytes = archive.csvBytes + archive.decoderBytes;
    document.title = `${archive.name} – aezip`;
    $("name").textContent = archive.name;
    $("summary").textContent = (rows.length ? `${whole(rows.length)} image` : "no images")
      + (rows.length > 1 ? "s" : "") + ` in ${whole(bytes)} bytes, decoder included`
      + (pixels ? ` · ${decimals((8 * bytes) / pixels, 2)} bits per pixel` : "");
    $("order").querySelector("[value=psnr]").disabled = !archive.originals;
    if (!archive.originals) {
      $("order").title = embedded ? "" : "PSNR needs the originals: aezip browse --originals FOLDER";
    }
    const small = rows.every((row) => Math.max(row.width, row.height) <= SMALL);
    $("grid").classList.toggle("tiles", small);
    choose();
    follow();
  }

  const names = new Intl.Collator("en", { numeric: true });
  const ORDERS = {
    row: (a, b) => a.number - b.number,
    name: (a, b) => names.compare(a.name, b.name),
    bytes: (a, b) => a.bytes - b.bytes,
    pixels: (a, b) => a.width * a.height - b.width * b.height,
    psnr: (a, b) => rank(a) - rank(b),
  };

  function rank(row) {
    const value = psnr ? psnr[row.number] : "";
    return value === "exact" ? 1e9 : typeof value === "number" ? value : 2e9;
  }

  function choose() {
    const wanted = $("search").value.trim().toLowerCase();
    const down = $("direction").getAttribute("aria-pressed") === "true" ? -1 : 1;
    const kept = shown[current];
    shown = rows.filter((row) => row.name.toLowerCase().includes(wanted));
    const order = ORDERS[$("order").value];
    shown.sort((a, b) => down * order(a, b) || a.number - b.number);
    current = Math.max(0, shown.indexOf(kept));
    $("count").textContent = [
      wanted && `${whole(shown.length)} of ${whole(rows.length)} match “${$("search").value.trim()}”`,
      measuring(),
    ].filter(Boolean).join(" · ");
    $("notice").hidden = !rows.length || shown.length > 0;
    arrange();
  }

  function measuring() {
    if ($("order").value !== "psnr" || !psnr) return "";
    const done = psnr.filter((value) => value !== "").length;
    return done < rows.length ? `measuring PSNR: ${whole(done)} of ${whole(rows.length)} images` : "";
  }

  async function measure() {
    while ($("order").value === "psnr") {
      try {
        const { done, values } = await get("/psnr.json");
        psnr = values;
        choose();
        if (done >= rows.length) return;
      } catch (error) {
        trouble(error.message);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
  }

  function arrange() {
    const width = $("grid").clientWidth;
    boxes = $("grid").classList.contains("tiles") ? tiles(width) : wall(width);
    tallest = boxes.reduce((most, box) => Math.max(most, box[3]), 0);
    const last = boxes.length ? boxes[boxes.length - 1][1] + tallest + captionHeight() : 0;
    $("grid").style.height = `${last}px`;
    // What shows a row that is still there goes on showing it: nothing flickers, and the focus stays.
    const before = new Map([...items.values()].map((item) => [Number(item.dataset.row), item]));
    items.clear();
    shown.forEach((row, number) => {
      const item = before.get(row.number);
      if (!item || (item.classList.contains("damaged") && !row.error)) return;
      before.delete(row.number);
      items.set(number, item);
      put(item, number);
    });
    for (const item of before.values()) drop(item);
    draw();
    sharpen();
  }

  function captionHeight() {
    return $("grid").classList.contains("tiles") || wallHeight() < 130 ? 0 : CAPTION;
  }

  // Tiles are enlarged by a whole factor, so that each pixel is a square.
  function tiles(width) {
    const side = rows.reduce((most, row) => Math.max(most, row.width, row.height), 1);
    const factor = Math.max(1, Math.round(TILE[$("size").value] / side));
    const cell = side * factor;
    const gap = Math.max(4, Math.min(GAP, cell / 8));
    const columns = Math.max(1, Math.floor((width + gap) / (cell + gap)));
    const left = Math.max(0, Math.floor((width - columns * (cell + gap) + gap) / 2));
    return shown.map((row, place) => [
      left + (place % columns) * (cell + gap),
      Math.floor(place / columns) * (cell + gap),
      row.error ? cell : row.width * factor,
      row.error ? cell : row.height * factor,
    ]);
  }

  function wallHeight() {
    return Math.min(WALL[$("size").value], Math.max(110, $("grid").clientWidth * 0.5));
  }

  // Rows of one height that fill the width, as picture walls have them.
  function wall(width) {
    const target = wallHeight();
    const caption = captionHeight();
    const found = [];
    let top = 0;
    let line = [];
    let sum = 0;
    const close = (height) => {
      let x = 0;
      for (const aspect of line) {
        found.push([x, top, aspect * height, height]);
        x += aspect * height + GAP;
      }
      top += height + caption + GAP;
      line = [];
      sum = 0;
    };
    for (const row of shown) {
      const aspect = Math.min(3, Math.max(0.5, row.error ? 1 : row.width / row.height));
      line.push(aspect);
      sum += aspect;
      const height = (width - GAP * (line.length - 1)) / sum;
      if (height <= target) close(height);
    }
    if (line.length) close(Math.min(target, (width - GAP * (line.length - 1)) / sum));
    return found;
  }

  // --- what is in view -----------------------------------------------------------------------

  let scrolled = { y: 0, time: 0 };
  let speed = 0;
  let settled = 0;

  function draw() {
    const above = window.scrollY - $("grid").offsetTop;
    const margin = window.innerHeight / 2;
    const first = place(above - margin - tallest);
    const end = place(above + window.innerHeight + margin);
    for (const [number, item] of items) {
      if ((number < first || number >= end) && !item.contains(document.activeElement)) {
        drop(item);
        items.delete(number);
      }
    }
    for (let number = first; number < end; number++) {
      if (!items.has(number)) items.set(number, make(number));
    }
    if (speed < FAST) load(above);
  }

  // The first row shown whose picture begins at or below y.
  function place(y) {
    let [low, high] = [0, boxes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (boxes[middle][1] < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function make(number) {
    const row = shown[number];
    const item = document.createElement("div");
    item.className = row.error ? "item damaged" : "item";
    item.dataset.row = row.number;
    item.setAttribute("role", "listitem");
    const link = document.createElement("a");
    link.href = `#${row.number}`;
    link.title = row.error || `${row.name} · ${row.width} × ${row.height} · ${short(row.bytes)}`;
    const frame = document.createElement("span");
    frame.className = "shown";
    if (row.error) {
      frame.textContent = "damaged";
    } else {
      const image = document.createElement("img");
      image.alt = row.name;
      image.decoding = "async";
      image.onload = () => {
        image.classList.add("loaded");
        sharpen();
      };
      image.onerror = () => failed(item, frame);
      frame.append(image);
    }
    link.append(frame);
    item.append(link);
    put(item, number);
    $("grid").append(item);
    return item;
  }

  // An item where its row is now, with what is to be read below it.
  function put(item, number) {
    const row = shown[number];
    const [x, y, width, height] = boxes[number];
    item.setAttribute("aria-setsize", shown.length);
    item.setAttribute("aria-posinset", number + 1);
    item.style.transform = `translate(${x}px, ${y}px)`;
    item.style.width = `${width}px`;
    item.style.height = `${height + captionHeight()}px`;
    const link = item.querySelector("a");
    link.tabIndex = number === current ? 0 : -1;
    link.querySelector(".shown").style.height = `${height}px`;
    link.querySelector(".caption")?.remove();
    if (captionHeight()) {
      const caption = document.createElement("span");
      const name = document.createElement("span");
      const size = document.createElement("span");
      caption.className = "caption";
      name.textContent = row.name;
      const value = psnr && $("order").value === "psnr" ? psnr[row.number] : "";
      size.textContent = row.error ? "" : value ? decibels(value) : short(row.bytes);
      caption.append(...(width < 130 ? [name] : [name, size]));
      link.append(caption);
    }
  }

  function failed(item, frame) {
    item.classList.add("damaged");
    frame.textContent = "cannot be shown";
  }

  // An image that is no longer in view is no longer waited for.
  function drop(item) {
    const image = item.querySelector("img");
    if (image && !image.classList.contains("loaded")) {
      image.onload = image.onerror = null;
      image.removeAttribute("src");
    }
    item.remove();
  }

  function inView(number, above) {
    const [, y, , height] = boxes[number];
    return y + height > above && y < above + window.innerHeight;
  }

  // What is in view comes first, then what is just outside.
  function load(above) {
    const waiting = [];
    for (const [number, item] of items) {
      const image = item.querySelector("img");
      if (image && !image.hasAttribute("src")) {
        waiting.push([!inView(number, above), number, image]);
      }
    }
    waiting.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    if (!embedded && $("grid").classList.contains("tiles")) askTiles(waiting);
    else for (const [, number, image] of waiting) ask(image, number, COARSE);
  }

  // Small images are many at a time, and each is decoded sooner than it is asked for by itself.
  function askTiles(waiting) {
    for (const [, number, image] of waiting) {
      const known = pictures.get(shown[number].number);
      if (known) set(image, known);
    }
    const missing = waiting.filter(([, , image]) => !image.src && !image.dataset.asked);
    for (let first = 0; first < missing.length; first += TOGETHER) {
      const some = missing.slice(first, first + TOGETHER);
      for (const [, , image] of some) image.dataset.asked = true;
      fetchTiles(some.map(([, number, image]) => [shown[number].number, image]));
    }
  }

  async function fetchTiles(some) {
    let found;
    try {
      found = await get(`/${archive.version}/tiles/${some.map(([number]) => number).join()}`);
    } catch (error) {
      for (const [, image] of some) delete image.dataset.asked; // to be asked for again
      trouble(error.message);
      return;
    }
    if (pictures.size > KEPT) pictures.clear();
    some.forEach(([number, image], at) => {
      if (found[at]) pictures.set(number, found[at]);
      if (found[at]) set(image, found[at]);
      else image.onerror?.();
    });
  }

  function set(image, source) {
    image.src = source;
    if (image.complete && image.naturalWidth) image.classList.add("loaded");
  }

  function ask(image, number, most) {
    const [, , width, height] = boxes[number];
    const side = embedded ? 0 : Math.min(deserved(Math.max(width, height)), most);
    image.dataset.side = side;
    set(image, thumbnail(shown[number], side));
  }

  // A larger picture takes longer to decode. So all that are in view are loaded coarse, and when
  // that is done, one after the other as large as it is shown.
  function sharpen() {
    if (embedded || $("grid").classList.contains("tiles")) return;
    if ($("grid").querySelector("img[src]:not(.loaded)")) return;
    const above = window.scrollY - $("grid").offsetTop;
    for (const [number, item] of items) {
      const image = item.querySelector("img");
      const [, , width, height] = boxes[number];
      if (image?.src && inView(number, above)
        && Number(image.dataset.side) < deserved(Math.max(width, height))) {
        ask(image, number, Infinity);
        return;
      }
    }
  }

  let drawing = 0;
  window.addEventListener("scroll", () => {
    const now = performance.now();
    speed = Math.abs(window.scrollY - scrolled.y) / Math.max(1, now - scrolled.time);
    scrolled = { y: window.scrollY, time: now };
    clearTimeout(settled);
    settled = setTimeout(() => { speed = 0; draw(); }, 60);
    drawing ||= requestAnimationFrame(() => { drawing = 0; draw(); });
  }, { passive: true });

  let width = 0;
  new ResizeObserver(() => {
    if (!archive || $("grid").clientWidth === width) return;
    width = $("grid").clientWidth;
    arrange();
  }).observe($("grid"));
  window.addEventListener("resize", () => archive && draw());

  for (const name of ["search", "order", "size"]) {
    $(name).addEventListener("input", () => {
      if (name !== "size") window.scrollTo(0, 0);
      choose();
      if (name === "order") measure();
    });
  }
  $("direction").addEventListener("click", () => {
    const pressed = $("direction").getAttribute("aria-pressed") !== "true";
    $("direction").setAttribute("aria-pressed", pressed);
    $("direction").textContent = pressed ? "↑" : "↓";
    choose();
  });
  $("tools").addEventListener("submit", (event) => event.preventDefault());

  // --- the keyboard in the grid --------------------------------------------------------------

  $("grid").addEventListener("focusin", (event) => {
    for (const [number, item] of items) {
      if (item.contains(event.target)) mark(number);
    }
  });

  function mark(number) {
    items.get(current)?.querySelector("a").setAttribute("tabindex", -1);
    current = number;
    items.get(current)?.querySelector("a").setAttribute("tabindex", 0);
  }

  function go(number) {
    number = Math.min(shown.length - 1, Math.max(0, number));
    const [, y, , height] = boxes[number];
    const top = y + $("grid").offsetTop - $("bar").offsetHeight - GAP;
    const bottom = y + $("grid").offsetTop + height + captionHeight() + GAP;
    if (top < window.scrollY) window.scrollTo(0, top);
    if (bottom > window.scrollY + window.innerHeight) window.scrollTo(0, bottom - window.innerHeight);
    draw();
    mark(number);
    items.get(number)?.querySelector("a").focus({ preventScroll: true });
  }

  // The picture of another line that is nearest in x.
  function vertical(lines) {
    const [x, y, width] = boxes[current];
    let best = current;
    let line = y;
    let distance = Infinity;
    for (let at = current, step = Math.sign(lines); boxes[at]; at += step) {
      if (boxes[at][1] !== line) {
        if (line !== y && !--lines) break;
        if (line === y) lines = Math.abs(lines);
        line = boxes[at][1];
        distance = Infinity;
      }
      const away = Math.abs(boxes[at][0] + boxes[at][2] / 2 - x - width / 2);
      if (line !== y && away < distance) [best, distance] = [at, away];
    }
    return best;
  }

  $("grid").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !shown.length) return;
    const page = Math.max(1, Math.floor((window.innerHeight - $("bar").offsetHeight)
      / (boxes[current][3] + captionHeight() + GAP)) - 1);
    const moves = {
      ArrowLeft: () => current - 1,
      ArrowRight: () => current + 1,
      ArrowUp: () => vertical(-1),
      ArrowDown: () => vertical(1),
      PageUp: () => vertical(-page),
      PageDown: () => vertical(page),
      Home: () => 0,
      End: () => shown.length - 1,
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    go(moves[event.key]());
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !$("viewer").open && document.activeElement !== $("search")) {
      event.preventDefault();
      $("search").focus();
    }
  });
  $("search").addEventListener("keydown", (event) => {
    if ((event.key === "ArrowDown" || event.key === "Enter") && shown.length) {
      event.preventDefault();
      go(0);
    }
  });

  // --- one image -----------------------------------------------------------------------------

  const view = { row: null, scale: 1, x: 0, y: 0, fitted: true, split: 0.5, compared: false };

  // The address says which image is open, so that the browser's Back closes it. An entry of the
  // history that the page made itself is marked, and left by going back.
  window.addEventListener("hashchange", follow);
  history.scrollRestoration = "manual"; // going back must not undo where the grid was scrolled to

  $("grid").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState({ pushed: true }, "", link.getAttribute("href"));
    follow();
  });

  function follow() {
    const row = rows[/^#\d+$/.test(location.hash) ? Number(location.hash.slice(1)) : -1];
    if (row) open(row);
    else if ($("viewer").open) $("viewer").close();
  }


  $("viewer").addEventListener("close", () => {
    const place = shown.indexOf(view.row);
    view.row = null;
    for (const image of [$("decoded"), $("original")]) image.removeAttribute("src");
    if (location.hash && history.state?.pushed) history.back();
    else if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    // Where the keyboard was before, it is already.
    if (shown.length) go(place < 0 ? current : place);
  });
  $("close").addEventListener("click", () => $("viewer").close());

  function step(by) {
    const place = shown.indexOf(view.row) + by;
    if (!shown[place]) return;
    history.replaceState(history.state, "", `#${shown[place].number}`);
    follow();
  }

  async function open(row) {
    view.row = row;
    const place = shown.indexOf(row);
    if (place >= 0) mark(place);
    if (!$("viewer").open) {
      $("viewer").showModal();
      $("stage").focus();
    }
    $("viewed").textContent = row.name;
    $("before").disabled = place <= 0;
    $("after").disabled = place < 0 || place >= shown.length - 1;
    if (document.activeElement.disabled) $("stage").focus();
    document.querySelector(".buttons").hidden = Boolean(row.error);
    compare(false);
    view.fitted = true;
    $("original").removeAttribute("src");
    $("decoded").alt = `${row.name}, as the archive has it`;
    $("picture").hidden = Boolean(row.error);
    if (row.error) {
      $("wait").textContent = row.error;
      $("scale").textContent = "";
      describe(row, {});
      return;
    }
    $("picture").classList.add("coarse");
    $("decoded").src = $("grid").querySelector(`[href="#${row.number}"] img.loaded`)?.src
      || thumbnail(row, archive.sides?.[0]);
    fit();
    describe(row, {});
    if (embedded) {
      $("picture").classList.remove("coarse");
      $("wait").textContent = Math.max(row.width, row.height) > SMALL
        ? "a preview; aezip view shows the image in full size" : "";
      return;
    }
    const waiting = setTimeout(() => { $("wait").textContent = "decoding …"; }, 300);
    try {
      $("wait").textContent = "";
      await fetched($("decoded"), address("image", row), () => view.row === row);
    } catch (error) {
      if (view.row === row) $("wait").textContent = error.message;
      return;
    } finally {
      clearTimeout(waiting);
    }
    if (view.row !== row) return;
    $("wait").textContent = "";
    $("picture").classList.remove("coarse");
    if (archive.originals) await showOriginal(row);
    const next = shown[place + 1];
    if (view.row === row && next && !next.error) new Image().src = address("image", next);
  }

  async function showOriginal(row) {
    try {
      const details = await get(address("details", row));
      if (view.row !== row) return;
      describe(row, details);
      if (details.missing) return;
      $("original").alt = `${row.name}, the original`;
      await fetched($("original"), address("original", row), () => view.row === row);
      if (view.row === row) compare(true);
    } catch (error) {
      if (view.row === row) $("wait").textContent = error.message;
    }
  }

  // Shows an image once it is there, so that what was there before stays until then.
  async function fetched(image, url, wanted) {
    const loaded = new Image();
    loaded.src = url;
    try {
      await loaded.decode();
    } catch {
      const response = await fetch(url).catch(() => null);
      if (!response) throw new Error("aezip browse has ended; start it again to see more.");
      throw new Error(response.ok ? "the browser cannot show it" : (await response.text()).trim());
    }
    if (wanted()) image.src = url;
  }

  function describe(row, details) {
    const facts = [];
    if (!row.error) {
      const pixels = row.width * row.height;
      const share = archive.decoderBytes / rows.length;
      const bpp = (bytes) => `${decimals((8 * bytes) / pixels, 3)} bits per pixel`;
      facts.push(["Size", `${whole(row.width)} × ${whole(row.height)}`,
        { L: "grey", LA: "grey, transparency", RGB: "colour", RGBA: "colour, transparency" }[row.mode]]);
      facts.push(["In the CSV", `${whole(row.bytes)} bytes`, bpp(row.bytes)]);
      facts.push(["With a share of the decoder", `${whole(row.bytes + share)} bytes`,
        bpp(row.bytes + share)]);
      if (details.originalBytes) {
        facts.push(["Original file", `${whole(details.originalBytes)} bytes`,
          `${decimals(details.originalBytes / row.bytes, 1)} times the row`]);
      }
      if (details.psnr !== undefined) facts.push(["PSNR", decibels(details.psnr)]);
      if (details.missing) facts.push(["PSNR", "not known", details.missing]);
      facts.push(["Quality", String(row.quality)]);
    }
    facts.push(["Row", whole(row.number)]);
    $("facts").replaceChildren(...facts.flatMap(([title, value, more]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      dt.textContent = title;
      dd.textContent = value;
      dd.dataset.fact = title;
      if (more) {
        const small = document.createElement("small");
        small.textContent = more;
        dd.append(small);
      }
      return [dt, dd];
    }));
  }

  // --- zoom, and where the slider is ---------------------------------------------------------

  function fit() {
    const [w, h] = [$("stage").clientWidth, $("stage").clientHeight];
    const { width, height } = view.row;
    const most = Math.min(w / width, h / height);
    view.fitted = true;
    zoomTo(most > 1 ? Math.max(1, Math.floor(Math.min(most * 0.9, 24))) : most, w / 2, h / 2);
  }

  function zoomTo(scale, atX, atY) {
    const [w, h] = [$("stage").clientWidth, $("stage").clientHeight];
    const { width, height } = view.row;
    const least = Math.min(1, w / width, h / height);
    const before = view.scale;
    view.scale = Math.min(64, Math.max(least, scale));
    view.x = atX - (atX - view.x) * (view.scale / before);
    view.y = atY - (atY - view.y) * (view.scale / before);
    settle();
  }

  // Keeps the picture in the stage, in the middle where it is smaller, and the slider on it.
  function settle() {
    if (!view.row || view.row.error) return;
    const [w, h] = [$("stage").clientWidth, $("stage").clientHeight];
    const [width, height] = [view.row.width * view.scale, view.row.height * view.scale];
    view.x = width <= w ? (w - width) / 2 : Math.min(0, Math.max(w - width, view.x));
    view.y = height <= h ? (h - height) / 2 : Math.min(0, Math.max(h - height, view.y));
    if (view.scale >= 1) [view.x, view.y] = [Math.round(view.x), Math.round(view.y)];
    $("picture").style.width = `${width}px`;
    $("picture").style.height = `${height}px`;
    $("picture").style.transform = `translate(${view.x}px, ${view.y}px)`;
    $("picture").classList.toggle("sharp", view.scale >= 2);
    $("scale").textContent = `${whole(100 * view.scale)} %`;
    const [left, right] = [Math.max(0, view.x), Math.min(w, view.x + width)];
    const at = left + view.split * (right - left);
    $("divider").style.left = `${at}px`;
    $("divider").setAttribute("aria-valuenow", Math.round(100 * view.split));
    $("original").style.clipPath = `inset(0 ${Math.max(0, width - (at - view.x))}px 0 0)`;
  }

  function compare(on) {
    view.compared = on;
    $("original").hidden = $("divider").hidden = !on;
    for (const side of document.querySelectorAll(".side, .compared")) side.hidden = !on;
    settle();
  }

  function splitAt(clientX) {
    const stage = $("stage").getBoundingClientRect();
    const left = Math.max(0, view.x);
    const right = Math.min(stage.width, view.x + view.row.width * view.scale);
    view.split = Math.min(1, Math.max(0, (clientX - stage.left - left) / (right - left)));
    settle();
  }

  function zoomBy(factor, x = $("stage").clientWidth / 2, y = $("stage").clientHeight / 2) {
    if (!view.row || view.row.error) return;
    view.fitted = false;
    zoomTo(view.scale * factor, x, y);
  }

  function full() {
    if (!view.row || view.row.error) return;
    view.fitted = false;
    zoomTo(1, $("stage").clientWidth / 2, $("stage").clientHeight / 2);
  }

  const pointers = new Map();
  $("stage").addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || (event.pointerType === "mouse" && event.button)) return;
    const role = $("divider").contains(event.target) ? "split" : "pan";
    pointers.set(event.pointerId, { role, x: event.clientX, y: event.clientY });
    $("stage").setPointerCapture(event.pointerId);
    $("stage").classList.add("moving");
    if (role === "split") {
      $("divider").focus();
      splitAt(event.clientX);
    }
    event.preventDefault();
  });
  $("stage").addEventListener("pointermove", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (!pointer || !view.row || view.row.error) return;
    const before = [...pointers.values()].map(({ x, y }) => ({ x, y }));
    [pointer.x, pointer.y] = [event.clientX, event.clientY];
    const after = [...pointers.values()];
    if (pointer.role === "split") {
      splitAt(event.clientX);
    } else if (after.length === 2) {
      const stage = $("stage").getBoundingClientRect();
      const apart = ([a, b]) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
      zoomBy(apart(after) / apart(before), (after[0].x + after[1].x) / 2 - stage.left,
        (after[0].y + after[1].y) / 2 - stage.top);
    } else {
      view.x += after[0].x - before[0].x;
      view.y += after[0].y - before[0].y;
      settle();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    $("stage").addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) $("stage").classList.remove("moving");
    });
  }
  $("stage").addEventListener("wheel", (event) => {
    event.preventDefault();
    const stage = $("stage").getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)),
      event.clientX - stage.left, event.clientY - stage.top);
  }, { passive: false });
  $("stage").addEventListener("dblclick", (event) => {
    if (event.target.closest("button") || $("divider").contains(event.target)) return;
    const stage = $("stage").getBoundingClientRect();
    if (view.fitted) zoomBy(view.scale < 1 ? 1 / view.scale : 2, event.clientX - stage.left,
      event.clientY - stage.top);
    else fit();
  });
  new ResizeObserver(() => {
    if (!view.row || view.row.error) return;
    if (view.fitted) fit();
    else settle();
  }).observe($("stage"));

  $("in").addEventListener("click", () => zoomBy(1.5));
  $("out").addEventListener("click", () => zoomBy(1 / 1.5));
  $("fit").addEventListener("click", () => view.row && !view.row.error && fit());
  $("full").addEventListener("click", full);
  $("before").addEventListener("click", () => step(-1));
  $("after").addEventListener("click", () => step(1));

  $("viewer").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sliding = event.target === $("divider");
    const slide = (to) => {
      view.split = Math.min(1, Math.max(0, to));
      settle();
    };
    const keys = sliding ? {
      ArrowLeft: () => slide(view.split - (event.shiftKey ? 0.1 : 0.02)),
      ArrowRight: () => slide(view.split + (event.shiftKey ? 0.1 : 0.02)),
      Home: () => slide(0),
      End: () => slide(1),
    } : {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
    };
    Object.assign(keys, {
      "+": () => zoomBy(1.5),
      "=": () => zoomBy(1.5),
      "-": () => zoomBy(1 / 1.5),
      0: () => view.row && !view.row.error && fit(),
      1: full,
      s: () => view.compared && (sliding ? $("stage") : $("divider")).focus(),
    });
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  start();
})();
