import { assertOptions, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { canonicalIP } from '../codec/index.js'

/** What an option may be. `count` is a positive integer. */
export type OptionType =
  | 'function'
  | 'string'
  | 'boolean'
  | 'object'
  | 'milliseconds'
  | 'count'
  | 'port'
  | 'ip'
  | 'signal'

/**
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for an unknown name or a wrong type, RangeError `ERR_OUT_OF_RANGE` for a number
 * outside its range. What is `undefined` counts as left out.
 */
export function assertOptionTypes(options: object, types: Readonly<Record<string, OptionType>>): void {
  assertOptions(options, Object.keys(types))
  for (const [name, type] of Object.entries(types)) {
    const value: unknown = Reflect.get(options, name)
    if (value !== undefined) assertOptionType(`option ${name}`, value, type)
  }
}

/** The check of one value. @throws as {@link assertOptionTypes} does. */
export function assertOptionType(name: string, value: unknown, type: OptionType): void {
  switch (type) {
    case 'milliseconds':
      // setTimeout turns what does not fit 31 bits into 1.
      if (!isNumberIn(value, 0, 0x7fff_ffff)) {
        throw outOfRange(`${name} must be a number of milliseconds from 0 to 2147483647`)
      }
      return
    case 'count':
      if (!Number.isSafeInteger(value) || !isNumberIn(value, 1, Number.MAX_SAFE_INTEGER)) {
        throw outOfRange(`${name} must be a positive integer`)
      }
      return
    case 'port':
      if (!isPort(value)) throw outOfRange(`${name} must be an integer from 0 to 65535`)
      return
    case 'ip':
      bindable(value, name)
      return
    case 'signal':
      if (!(value instanceof AbortSignal)) throw invalidArgument(`${name} must be an AbortSignal`)
      return
    default:
      if (typeof value !== type || value === null) throw invalidArgument(`${name} must be of type ${type}`)
  }
}

/** An IP literal to bind to, canonical, with its zone where it has one. @throws TypeError `ERR_INVALID_ARG_VALUE`. */
export function bindable(value: unknown, name: string): string {
  const [address = '', zone] = typeof value === 'string' ? value.split(/%(.*)/s) : []
  const literal = canonicalIP(address)
  if (literal === undefined || (zone !== undefined && literal.type === 'ipv4')) {
    throw invalidArgument(`${name} must be an IP address`)
  }
  return zone === undefined ? literal.host : `${literal.host}%${zone}`
}

function isNumberIn(value: unknown, low: number, high: number): boolean {
  return typeof value === 'number' && value >= low && value <= high
}
