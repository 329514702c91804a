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

/** Whether `value` is an integer from 0 to 65535. */
export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0xffff
}
