// begin shared
import { Pond } from "/pond.js";
import { shared } from "/pond-shared.js";

const pond = new Pond("/socket", shared());
// end shared

await pond.channel("/chat/1").join();
document.body.append("shared");
