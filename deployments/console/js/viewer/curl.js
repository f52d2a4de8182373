/** The request that makes a clip again, as a command for a shell. */

/** @typedef {import("../shapes.js").Video} Video */

const KEPT = /** @type {const} */ ([
  "prompt", "model", "size", "num_frames", "num_inference_steps", "guidance_scale", "guidance_high", "guidance_low", "shift", "solver", "seed",
  "negative_prompt", "adapters", "tags", "priority",
]);

/**
 * @param {Video} video
 * @param {{origin: string, isKeyNeeded: boolean}} where
 */
export function curlOf(video, { origin, isKeyNeeded }) {
  const asked = Object.fromEntries(KEPT.filter((name) => isSaid(video[name])).map((name) => [name, video[name]]));
  const lines = [`curl ${quoted(`${origin}/v1/videos`)}`];
  if (isKeyNeeded) lines.push('-H "Authorization: Bearer $WANFARM_API_KEY"');
  if (video.mode === "image") lines.push(...formLines(asked));
  else lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(asked))}`);
  return lines.join(" \\\n  ");
}

/** The picture itself is not ours to give back; its place is named. @param {Record<string, any>} asked */
function formLines(asked) {
  const fields = Object.entries(asked).map(([name, value]) => `--form-string ${quoted(`${name}=${typeof value === "object" ? JSON.stringify(value) : value}`)}`);
  return [...fields, "-F input_reference=@FIRST_FRAME.png"];
}

/** @param {unknown} value */
function isSaid(value) {
  if (value === null || value === undefined || value === "") return false;
  return typeof value !== "object" || Object.keys(/** @type {object} */ (value)).length > 0;
}

/** For a POSIX shell: nothing inside single quotes means anything. @param {string} text */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
