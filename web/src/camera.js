/** Takes a picture with the camera; nothing of it is recorded before that. */

/** @type {MediaStream | undefined} */
let stream;

/** Whether the browser lets a page ask: only over HTTPS, or on this machine. */
export function isThere() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/**
 * @param {HTMLVideoElement} video
 * @throws {Error} there is none, or it was refused
 */
export async function open(video) {
  close(video);
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "user", width: { ideal: 1280 } },
    });
  } catch (error) {
    throw new Error(
      `There is no camera to use (${/** @type {Error} */ (error).message}).`,
    );
  }
  video.srcObject = stream;
  await video.play();
}

/**
 * @param {HTMLVideoElement} video
 * @returns {Promise<Blob>} a JPEG, so that its bytes can be counted
 */
export async function take(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  close(video);
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (blob) =>
        blob ? resolve(blob) : reject(new Error("The camera gave no picture.")),
      "image/jpeg",
      0.92,
    ),
  );
}

/** @param {HTMLVideoElement} video */
export function close(video) {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = undefined;
  video.srcObject = null;
}
