/**
 * The first frame: chosen, dropped anywhere on the form, or pasted; shown on a canvas, as the page's policy admits no
 * blob addresses.
 */

import { h, icon, setText } from "../dom.js";
import { size } from "../format.js";

const TYPES = ["image/png", "image/jpeg", "image/webp"];

/**
 * @param {() => void} onChange
 */
export function pictureField(onChange) {
  /** @type {File | null} */
  let file = null;
  const input = h("input", { type: "file", id: "field-image", accept: TYPES.join(","), class: "unseen" });
  const canvas = h("canvas", { hidden: true, role: "img", "aria-label": "The chosen first frame" });
  const facts = h("span", { class: "facts" });
  const invitation = h("span", { class: "invitation" }, icon("image"), "Drop, paste or choose a picture");
  const zone = h("label", { class: "zone", for: "field-image" }, canvas, invitation, facts);
  const fault = h("p", { class: "fault", id: "field-image-fault", hidden: true });
  const removal = h("button", { type: "button", class: "link", hidden: true, on: { click: () => take(null) } }, "Remove");
  const element = h(
    "div",
    { class: "field picture" },
    h("div", { class: "label" }, h("label", { for: "field-image" }, "First frame"), removal),
    input,
    zone,
    fault,
  );

  /** @param {string | null} text */
  function setFault(text) {
    fault.hidden = text === null;
    setText(fault, text ?? "");
    if (text === null) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
    if (text === null) input.removeAttribute("aria-describedby");
    else input.setAttribute("aria-describedby", fault.id);
  }

  /** @param {File | null} chosen */
  async function take(chosen) {
    setFault(null);
    if (chosen && !TYPES.includes(chosen.type)) {
      setFault(`${chosen.name || "This"} is no PNG, JPEG or WebP picture.`);
      return;
    }
    file = chosen;
    if (!chosen) input.value = "";
    await show(chosen);
    onChange();
  }

  /** @param {File | null} chosen */
  async function show(chosen) {
    canvas.hidden = removal.hidden = chosen === null;
    invitation.hidden = chosen !== null;
    setText(facts, "");
    if (chosen === null) return;
    try {
      const bitmap = await createImageBitmap(chosen);
      setText(facts, `${bitmap.width}×${bitmap.height} · ${size(chosen.size)}`);
      draw(canvas, bitmap);
    } catch {
      canvas.hidden = true;
      setText(facts, chosen.name);
      setFault("The browser cannot read this picture.");
    }
  }

  input.addEventListener("change", () => take(input.files?.[0] ?? null));
  return { element, input, zone, setFault, take, file: () => file };
}

/** @param {HTMLCanvasElement} canvas @param {ImageBitmap} bitmap */
function draw(canvas, bitmap) {
  const scale = Math.min(1, 720 / bitmap.width, 480 / bitmap.height);
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.classList.toggle("few-pixels", bitmap.width <= 160);
  bitmap.close();
}

/**
 * Pictures dropped on the whole form or pasted into it are taken.
 * @param {HTMLElement} form
 * @param {(file: File) => void} take
 */
export function acceptPictures(form, take) {
  let depth = 0;
  /** @param {DragEvent} event */
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
  /** @param {number} change */
  const count = (change) => {
    depth = Math.max(0, depth + change);
    form.classList.toggle("is-target", depth > 0);
  };
  form.addEventListener("dragenter", (event) => holdsFiles(event) && count(1));
  form.addEventListener("dragleave", (event) => holdsFiles(event) && count(-1));
  form.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  form.addEventListener("drop", (event) => {
    const file = event.dataTransfer?.files[0];
    count(-depth);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  form.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}
