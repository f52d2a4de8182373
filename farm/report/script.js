"use strict";
(() => {
  const PAGE = 60;
  const byId = (id) => document.getElementById(id);
  const cards = JSON.parse(byId("cards").textContent);
  const sheet = byId("sheet"), viewer = byId("viewer"), search = byId("search");
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const words = cards.map((card) =>
    [card.prompt, card.id, card.error_class, card.error, ...(card.warnings || [])].join(" ").toLowerCase());
  let status = "all", found = [], numShown = 0, current = -1;

  // Clip ids are found by their beginning alone: any "2" or "ab" is somewhere in most of them.
  const matches = (index, term) =>
    words[index].includes(term) || (term.length >= 4 && (cards[index].clip_id || "").startsWith(term));

  // All text comes in as text: nothing of a card is ever parsed as markup.
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const picture = (source, label) => {
    const image = make("img");
    image.loading = "lazy"; image.decoding = "async"; image.alt = label; image.src = source;
    return image;
  };

  const film = (card, isPreview) => {
    const video = make("video");
    video.preload = "none"; video.loop = true; video.playsInline = true; video.muted = isPreview;
    video.controls = !isPreview; video.poster = card.poster; video.src = card.video;
    return video;
  };

  // A preview lives only while the pointer or the focus is on its card: a sheet of a thousand holds one video at most.
  const previewOn = (element, frame, card) => {
    let video = null;
    const start = () => {
      if (video || isCalm || viewer.open) return;
      video = film(card, true);
      frame.append(video);
      video.play().catch(() => {});
    };
    const stop = () => {
      if (!video) return;
      video.pause(); video.removeAttribute("src"); video.load(); video.remove();
      video = null;
    };
    element.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") start(); });
    element.addEventListener("pointerleave", stop);
    element.addEventListener("focus", () => { if (element.matches(":focus-visible")) start(); });
    element.addEventListener("blur", stop);
    element.addEventListener("click", stop);
  };

  const cardOf = (position) => {
    const card = cards[found[position]];
    const item = make("li"), button = make("button", "card");
    button.type = "button"; button.dataset.position = position;
    const frame = make("div", card.video ? "frame" : "frame none " + card.status, card.video ? undefined : card.status);
    frame.style.aspectRatio = card.video ? card.ratio : "5 / 2";
    if (card.video) {
      frame.append(picture(card.poster, ""));
      previewOn(button, frame, card);
    }
    if (card.video && card.warnings) {
      const mark = make("span", "mark", "⚠ " + card.warnings.length);
      mark.title = card.warnings.join("\n");
      frame.append(mark);
    }
    const text = make("div", "words");
    text.append(make("p", "", card.prompt || card.id || "row " + card.row));
    if (card.error) text.append(make("p", "error", card.error_class === "Rejected" ? card.error : card.error_class + ": " + card.error));
    text.append(make("small", "", ["row " + card.row, card.id, card.seconds !== undefined ? card.seconds + " s" : null].filter(Boolean).join(" · ")));
    button.append(frame, text);
    item.append(button);
    return item;
  };

  const showMore = () => {
    const until = Math.min(numShown + PAGE, found.length);
    const batch = document.createDocumentFragment();
    for (; numShown < until; numShown++) batch.append(cardOf(numShown));
    sheet.append(batch);
  };

  const filter = () => {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = [];
    cards.forEach((card, index) => {
      if ((status === "all" || card.status === status) && terms.every((term) => matches(index, term))) found.push(index);
    });
    numShown = 0;
    sheet.replaceChildren();
    byId("count").textContent = found.length === 1 ? "1 row" : found.length.toLocaleString("en") + " rows";
    showMore();
  };

  const facts = (card) => [
    ["status", card.status], ["row", card.row], ["id", card.id], ["clip", card.clip_id], ["shape", card.shape],
    ["seed", card.seed], ["seconds", card.seconds], ["worker", card.worker],
    ["retry", card.retry ? "wanfarm retry OUT " + card.retry : undefined], ["warnings", (card.warnings || []).join("; ") || undefined],
  ].filter(([, value]) => value !== undefined);

  const show = (position) => {
    if (position < 0 || position >= found.length) return;
    while (numShown <= position) showMore();
    current = position;
    const card = cards[found[position]], stage = byId("stage"), about = byId("about");
    stage.replaceChildren(); about.replaceChildren();
    if (card.video) {
      const video = film(card, false);
      stage.append(video);
      video.play().catch(() => {});
    }
    about.append(make("p", "", card.prompt || "(no prompt)"));
    if (card.error) about.append(make("p", "failed", card.error_class + ": " + card.error));
    if (card.strip) about.append(picture(card.strip, "Eight moments of the clip"));
    const list = make("dl");
    for (const [name, value] of facts(card)) list.append(make("dt", "", name), make("dd", "", String(value)));
    about.append(list);
    if (card.record) {
      const links = make("p");
      for (const [label, target] of [["record", card.record], ["video file", card.video]]) {
        const link = make("a", "", label);
        link.href = target; link.rel = "noopener";
        links.append(link, " ");
      }
      about.append(links);
    }
    byId("previous").disabled = position === 0;
    byId("next").disabled = position === found.length - 1;
    if (!viewer.open) viewer.showModal();
    about.scrollTop = 0;
  };

  sheet.addEventListener("click", (event) => {
    const button = event.target.closest("button.card");
    if (button) show(Number(button.dataset.position));
  });
  viewer.addEventListener("close", () => {
    byId("stage").replaceChildren();
    const button = sheet.querySelector('[data-position="' + current + '"]');
    if (button) button.focus({ preventScroll: false });
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  byId("close").addEventListener("click", () => viewer.close());
  byId("previous").addEventListener("click", () => show(current - 1));
  byId("next").addEventListener("click", () => show(current + 1));
  document.querySelector(".filters").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    status = button.dataset.status;
    for (const other of document.querySelectorAll(".filters button")) other.setAttribute("aria-pressed", String(other === button));
    filter();
  });
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });

  const columns = () => getComputedStyle(sheet).gridTemplateColumns.split(" ").length;
  document.addEventListener("keydown", (event) => {
    if (viewer.open) {
      // Inside the player the arrows seek.
      if (event.target.tagName === "VIDEO") return;
      if (event.key === "ArrowLeft") show(current - 1);
      if (event.key === "ArrowRight") show(current + 1);
      return;
    }
    if (event.key === "/" && event.target !== search) { event.preventDefault(); search.focus(); return; }
    if (event.key === "Escape" && event.target === search) { search.value = ""; filter(); return; }
    const button = event.target.closest && event.target.closest("button.card");
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
    if (!button || !step) return;
    const position = Number(button.dataset.position) + step;
    if (position >= numShown && position < found.length) showMore();
    const target = sheet.querySelector('[data-position="' + position + '"]');
    if (target) { event.preventDefault(); target.focus(); }
  });
  new IntersectionObserver((entries) => { if (entries[0].isIntersecting) showMore(); }, { rootMargin: "900px" }).observe(byId("end"));
  filter();
})();
