// Errors for wrong arguments of the caller: Node's own classes and codes, never used for bytes of the peer.

/** A `RangeError` with Node's code `ERR_OUT_OF_RANGE`. */
export function outOfRange(message: string): RangeError {
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' })
}

/** A `TypeError` with Node's code `ERR_INVALID_ARG_VALUE`. */
export function invalidArgument(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' })
}

/** @throws RangeError `ERR_OUT_OF_RANGE` unless `value` is an integer from 0 to 255. */
export function assertByte(value: number, name: string): void {
  if (!Number.isInteger(value) || value < 0 || value > 0xff)
    throw outOfRange(`${name} must be an integer from 0 to 255`)
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE` unless `value` is bytes: text would silently become something else. */
export function assertBytes(value: unknown, name: string): void {
  // Not instanceof: bytes of another realm are bytes.
  if (!ArrayBuffer.isView(value)) throw invalidArgument(`${name} must be a Uint8Array`)
}

/**
 * @param hints what is meant by an option that is unknown, by its name.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` unless `options` is an object with none but the known keys: an option that is
 * misspelt must not pass for one that is left out.
 */
export function assertOptions(
  options: unknown,
  known: readonly string[],
  hints: { readonly [option: string]: string | undefined } = {},
): void {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options must be an object')
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw invalidArgument(`unknown option ${key}${hintOf(hints, key)}`)
  }
}

/** What a table of hints adds to a message about a name; empty where it knows none. */
export function hintOf(hints: { readonly [option: string]: string | undefined }, name: string): string {
  return Object.hasOwn(hints, name) ? `; ${hints[name]}` : ''
}

/** Whether `value` is an integer from 0 to 65535. */
export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0xffff
}
