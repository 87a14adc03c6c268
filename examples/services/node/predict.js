// Asks a model in traind over gRPC, with code that was generated from traind's contract.
//
//   make build/api.binpb                      in the checkout: the contract with its imports, as descriptors
//   npm ci && npm run generate                here
//   TRAIND_GRPC=http://127.0.0.1:8081 TRAIND_TOKEN_FILE=token node predict.js species
import { readFileSync } from "node:fs";
import process from "node:process";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { PredictionService } from "./generated/traind/v1/predictions_pb.js";

const COLUMNS = [
  { name: "island", strings: ["Biscoe", "Torgersen"] },
  { name: "bill_length_mm", numbers: [46.1, 39.1] },
  { name: "bill_depth_mm", numbers: [13.2, 18.7] },
  { name: "flipper_length_mm", numbers: [211, 181] },
  { name: "body_mass_g", numbers: [4500, 3750] },
  { name: "sex", strings: ["female", "male"] },
];
const TRIES = 5;

// One transport for all calls of a service: it keeps its connection.
const transport = createGrpcTransport({
  baseUrl: process.env.TRAIND_GRPC ?? "http://127.0.0.1:8081",
  defaultTimeoutMs: 10_000,
  interceptors: [
    (next) => (request) => {
      request.header.set("authorization", `Bearer ${readFileSync(process.env.TRAIND_TOKEN_FILE, "utf8").trim()}`);
      return next(request);
    },
  ],
});
const predictions = createClient(PredictionService, transport);

// Predictions change nothing, so that a call that did not arrive may be sent again.
async function predict(request) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await predictions.predict(request);
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unavailable || tried === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** tried * Math.random()));
    }
  }
}

try {
  const answer = await predict({ name: `models/${process.argv[2]}`, columns: COLUMNS });
  answer.predictions[0].strings.forEach((species, row) => {
    const shares = answer.probabilities.map((column) => column.numbers[row]);
    console.log(`${species}  ${Math.max(...shares).toFixed(2)}`);
  });
} catch (error) {
  console.error(ConnectError.from(error).message);
  process.exitCode = 1;
}
