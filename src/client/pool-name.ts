import { createHmac, randomBytes } from 'node:crypto'
import type { RequestOptions } from 'node:https'
import type { ConnectionOptions } from 'node:tls'

/** What a request may say of TLS, and Node's own type of it leaves out. */
export type TlsRequestOptions = RequestOptions &
  Pick<ConnectionOptions, 'ALPNProtocols' | 'secureContext' | 'pskCallback' | 'minDHSize'>

// Who we are and whom we trust, where Node's own name of a pool says nothing of it, or the same for different values
// ('[object Object]' for a key with a passphrase). `key` and `pfx` it prints as they are.
const UNTOLD = [
  'key',
  'pfx',
  'passphrase',
  'pskCallback',
  'secureContext',
  'checkServerIdentity',
  'allowPartialTrustChain',
  'ALPNProtocols',
  'minDHSize',
  'requestOCSP',
] as const

// Names of pools are printed, and a passphrase may be short: nobody else can compute what stands for it.
const SALT = randomBytes(32)

/**
 * What Node's `getName` is to be asked with, and what must stand beside its answer: together the same for two requests
 * only where TLS is told the same, and no secret is in them.
 */
export function splitName(options: TlsRequestOptions): { readonly plain: TlsRequestOptions; readonly rest: string } {
  const untold = UNTOLD.map((key) => Reflect.get(options, key))
  if (untold.every((value) => value === undefined)) return { plain: options, rest: '' }
  const rest = createHmac('sha256', SALT)
    .update(JSON.stringify(untold.map(told)))
    .digest('base64url')
  return { plain: { ...options, key: undefined, pfx: undefined }, rest }
}

/** A value of TLS as JSON tells it apart from any other. */
function told(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) {
    return { bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') }
  }
  if (Array.isArray(value)) return value.map(told)
  if (typeof value === 'function') return { number: numberOf(value) }
  if (typeof value !== 'object' || value === null) return { value: String(value), type: typeof value }
  // A key or a bundle with a passphrase of its own; any other object is itself alone.
  const parts = ['pem', 'buf', 'passphrase'].map((part) => Reflect.get(value, part))
  return parts.every((part) => part === undefined) ? { number: numberOf(value) } : { parts: parts.map(told) }
}

const numbers = new WeakMap<object, number>()
let lastNumber = 0

/** A number that stands for one object or function and no other. */
function numberOf(value: object): number {
  const number = numbers.get(value) ?? ++lastNumber
  numbers.set(value, number)
  return number
}
