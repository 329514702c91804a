import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Decoded, SocksError, type SocksErrorCode } from '../../src/codec/index.js'
import { garbage } from '../support/arbitraries.js'
import { concat, hex, plain, thrownBy } from '../support/bytes.js'

/** One wire message: random values, and its pair of functions. */
export interface Message<T> {
  /** Only values that come back unchanged. */
  readonly values: fc.Arbitrary<T>
  readonly encode: (value: T) => Uint8Array
  readonly decode: (bytes: Uint8Array, offset?: number) => Decoded<T> | undefined
}

const padding = fc.uint8Array({ maxLength: 12 })

/** What holds for every message that ends by itself. */
export function describeLaws<T>(name: string, { values, encode, decode }: Message<T>): void {
  describe(`laws of ${name}`, () => {
    it('decoding undoes encoding', () => {
      fc.assert(
        fc.property(values, (value) => {
          const message = encode(value)
          expect(plain(decode(message))).toEqual({ value: plain(value), bytesRead: message.length })
        }),
      )
    })

    it('K36 every strict prefix needs more, at any offset', () => {
      fc.assert(
        fc.property(values, padding, (value, before) => {
          const input = concat(before, encode(value))
          for (let end = 0; end < input.length; end++) {
            if (decode(input.subarray(0, end), before.length) !== undefined) throw new Error(`complete at ${end}`)
          }
        }),
        { numRuns: 40 },
      )
    })

    it('reads at an offset, leaves what follows, and changes no byte', () => {
      fc.assert(
        fc.property(values, padding, padding, (value, before, after) => {
          const message = encode(value)
          const input = concat(before, message, after)
          const untouched = hex(input)
          expect(plain(decode(input, before.length))).toEqual({ value: plain(value), bytesRead: message.length })
          expect(hex(input)).toBe(untouched)
        }),
      )
    })

    it('a decoded value owns its bytes', () => {
      fc.assert(
        fc.property(values, (value) => {
          const message = encode(value)
          // Node hands out received bytes as views of a pool that it writes to again; Buffer's own `slice` shares it.
          for (const input of [message, Buffer.from(message)]) {
            const decoded = decode(input)
            const before = plain(decoded)
            input.fill(0xa5)
            expect(plain(decoded)).toEqual(before)
          }
        }),
      )
    })

    it('the same from a Buffer as from a Uint8Array', () => {
      fc.assert(
        fc.property(values, (value) => {
          const message = encode(value)
          expect(decode(Buffer.from(message))).toStrictEqual(decode(message))
        }),
      )
    })

    it('garbage is a message, needs more, or is a SocksError', () => {
      fc.assert(
        fc.property(garbage(600), fc.nat(8), (input, offset) => onlySocksErrors(() => decode(input, offset))),
        {
          numRuns: 300,
        },
      )
    })
  })
}

/** Runs a call that may fail, but only in the library's own way. */
export function onlySocksErrors(call: () => unknown): void {
  try {
    call()
  } catch (error) {
    if (!(error instanceof SocksError)) throw error
  }
}

/** The SocksError of the given code that a call must throw. */
export function socksError(call: () => unknown, code: SocksErrorCode): SocksError {
  const error = thrownBy(call)
  if (!(error instanceof SocksError)) throw error
  expect(error.code).toBe(code)
  return error
}

/** A call with a number out of its range: refused with Node's own class and code. */
export function expectOutOfRange(call: () => unknown): void {
  const error = thrownBy(call)
  expect(error).toBeInstanceOf(RangeError)
  expect(error).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
}

/** A call with a value of the wrong kind: refused with Node's own class and code. */
export function expectInvalidArgument(call: () => unknown): void {
  const error = thrownBy(call)
  expect(error).toBeInstanceOf(TypeError)
  expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
}

/** Numbers that are no byte. */
export const NOT_BYTES: readonly number[] = [-1, 256, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32]

/** Numbers that are no port. */
export const NOT_PORTS: readonly number[] = [-1, 65_536, 0.5, Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 32 + 80]
