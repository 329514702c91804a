import { Duplex } from 'node:stream'

/** Whether a value is a Duplex that reads bytes: no objects, and no text, whose bytes are gone. */
export function isByteStream(value: unknown): value is Duplex {
  return value instanceof Duplex && !value.readableObjectMode && value.readableEncoding === null
}
