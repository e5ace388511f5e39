// Speaks with the openai package from npm: every format whole, pcm as a stream, and an error.
//
//     node openai_node.mjs URL KEY TEXT        prints bytes by what was asked for, as JSON

import OpenAI from "openai";

const [baseURL, apiKey, input] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const answer = {};

for (const response_format of [undefined, "opus", "aac", "flac", "wav", "pcm"]) {
  const speech = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input, response_format });
  answer[response_format ?? "no format"] = (await speech.arrayBuffer()).byteLength;
}

const streamed = await client.audio.speech.create({ model: "gpt-4o-mini-tts", voice: "sage", input, response_format: "pcm" });
answer["streamed pcm"] = 0;
for await (const piece of streamed.body) {
  answer["streamed pcm"] += piece.length;
}

try {
  await client.audio.speech.create({ model: "tts-1", voice: "nobody", input });
  throw new Error("an unknown voice was no error");
} catch (error) {
  if (!(error instanceof OpenAI.BadRequestError) || error.param !== "voice") {
    throw error;
  }
}
console.log(JSON.stringify(answer));
