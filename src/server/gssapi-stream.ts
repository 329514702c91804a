import { Duplex } from 'node:stream'
import { types } from 'node:util'
import {
  decodeGssapiFrame,
  encodeGssapiFrame,
  type GssapiFrame,
  GssapiMessageType,
  ReplyCode,
  SocksError,
} from '../codec/index.js'
import { reset } from '../stream/reset.js'
import { hookError } from './operation.js'

/** What a GSS mechanism does with single messages, once its context is established. */
export interface MessageProtection {
  /**
   * Makes the token of a message: GSS_Wrap (RFC 2743 section 2.3.3), with `confidential` as its conf_req_flag. The token is
   * at most 65535 bytes and stays as it is: memory that is used again for the next one must not be returned.
   */
  wrap(message: Uint8Array, confidential: boolean): Uint8Array | Promise<Uint8Array>
  /**
   * The message of a token: GSS_Unwrap (RFC 2743 section 2.3.4). Throws for one that was forged, replayed, comes out of
   * order or makes no sense, and with `confidential` for one that was not encrypted. The message stays as it is.
   */
  unwrap(token: Uint8Array, confidential: boolean): Uint8Array | Promise<Uint8Array>
}

/** How a {@link GssapiStream} protects what goes through it. */
export interface GssapiStreamOptions {
  /** Whether what is sent is encrypted, too. */
  readonly seals: boolean
  /** Whether what is received must be. */
  readonly demandsSeal: boolean
  /** Bytes of plain text in one token, at most. */
  readonly maxMessage: number
  /** Called once, when no message will be wrapped or unwrapped any more. */
  onClose(): void
}

/**
 * Speaks encapsulated messages with the stream it is put around, and plain bytes with whoever uses it (RFC 1961 section 5).
 *
 * No frame says that the end is meant: the FIN behind the last one does. So the stream is reset where it ends otherwise;
 * a peer must not take what came until then for all there was.
 */
export class GssapiStream extends Duplex {
  readonly #inner: Duplex
  readonly #protection: MessageProtection
  readonly #options: GssapiStreamOptions
  readonly #frames = new FrameReader()
  #isWanted = false
  #isPulling = false

  constructor(inner: Duplex, protection: MessageProtection, options: GssapiStreamOptions) {
    super({ allowHalfOpen: true })
    this.#inner = inner
    this.#protection = protection
    this.#options = options
    inner.on('readable', this.#onReadable)
    inner.on('end', this.#onReadable)
    inner.on('error', this.#onError)
    inner.on('close', this.#onInnerClose)
    if (inner.destroyed) this.#onInnerClose()
  }

  override _read(): void {
    this.#isWanted = true
    this.#onReadable()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#send(chunk).then(() => callback(), callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#inner.end(callback)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const inner = this.#inner
    inner.off('readable', this.#onReadable)
    inner.off('end', this.#onReadable)
    inner.off('error', this.#onError)
    inner.off('close', this.#onInnerClose)
    reset(inner)
    this.#options.onClose()
    callback(error)
  }

  async #send(bytes: Uint8Array): Promise<void> {
    const { seals, maxMessage } = this.#options
    for (let offset = 0; offset < bytes.length && !this.destroyed; offset += maxMessage) {
      const message = bytes.subarray(offset, offset + maxMessage)
      const frame = frameOf(GssapiMessageType.encapsulated, await wrapMessage(this.#protection, message, seals))
      await new Promise<void>((resolve, reject) => {
        this.#inner.write(frame, (error) => (error ? reject(error) : resolve()))
      })
    }
  }

  /** Reads frames while somebody wants their messages; what nobody wants waits in the inner stream's bounded buffer. */
  async #pull(): Promise<void> {
    if (this.#isPulling) return
    this.#isPulling = true
    try {
      while (this.#isWanted && !this.destroyed) {
        const frame = this.#nextFrame()
        if (frame === undefined) {
          if (this.#inner.readableEnded) this.#endReading()
          return
        }
        if (frame.type !== GssapiMessageType.encapsulated) throw badFrame('expected an encapsulated message')
        const message = await unwrapToken(this.#protection, frame.token, this.#options.demandsSeal)
        // Before: a consumer may ask for more while it is given this.
        this.#isWanted = false
        if (this.push(message)) this.#isWanted = true
      }
    } finally {
      this.#isPulling = false
    }
  }

  #nextFrame(): GssapiFrame | undefined {
    for (;;) {
      const frame = this.#frames.next()
      if (frame !== undefined) return frame
      const chunk: Uint8Array | null = this.#inner.read()
      if (chunk === null) return undefined
      this.#frames.push(chunk)
    }
  }

  #endReading(): void {
    if (this.#frames.rest.length > 0) throw badFrame('the client left in the middle of a frame')
    this.#isWanted = false
    this.push(null)
  }

  readonly #onReadable = (): void => {
    this.#pull().catch((error: Error) => this.destroy(error))
  }

  readonly #onError = (error: Error): void => {
    this.destroy(error)
  }

  readonly #onInnerClose = (): void => {
    const { readableEnded, writableFinished, errored } = this.#inner
    // With all said and read, the last messages may still wait here to be taken.
    if (!(readableEnded && writableFinished)) this.destroy(errored ?? undefined)
  }
}

/**
 * Takes frames out of chunks. What straddles chunks is copied into memory that grows with what has come, not with what a
 * header claims, and not with the number of chunks.
 */
export class FrameReader {
  #bytes: Uint8Array = new Uint8Array(0)
  #start = 0
  #end = 0

  /** What was pushed and is no part of a frame that was read. */
  get rest(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end)
  }

  push(chunk: Uint8Array): void {
    const { rest } = this
    if (rest.length === 0) {
      this.#bytes = chunk
      this.#start = 0
      this.#end = chunk.length
      return
    }
    // Always so where the bytes are a chunk, which is somebody else's.
    if (this.#end + chunk.length > this.#bytes.length) {
      this.#bytes = new Uint8Array(2 * (rest.length + chunk.length))
      this.#bytes.set(rest)
      this.#start = 0
      this.#end = rest.length
    }
    this.#bytes.set(chunk, this.#end)
    this.#end += chunk.length
  }

  /** The next frame, if it is whole. @throws SocksError `ERR_SOCKS_BAD_GSSAPI_FRAME`, as soon as a byte tells. */
  next(): GssapiFrame | undefined {
    const decoded = decodeGssapiFrame(this.rest)
    if (decoded === undefined) return undefined
    this.#start += decoded.bytesRead
    return decoded.value
  }
}

/** The frame of a token that the mechanism has made. @throws SocksError `ERR_SOCKS_HOOK_FAILED` for one that is too long. */
export function frameOf(type: number, token: Uint8Array): Uint8Array {
  try {
    return encodeGssapiFrame({ type, token })
  } catch (cause) {
    throw mechanismError(cause)
  }
}

/** @throws SocksError `ERR_SOCKS_HOOK_FAILED`. */
export async function wrapMessage(
  protection: MessageProtection,
  message: Uint8Array,
  confidential: boolean,
): Promise<Uint8Array> {
  let token: unknown
  try {
    token = await protection.wrap(message, confidential)
  } catch (cause) {
    throw mechanismError(cause)
  }
  return asBytes(token, 'wrap')
}

/** @throws SocksError `ERR_SOCKS_BAD_GSSAPI_FRAME` for a token of the client's that is wrong. */
export async function unwrapToken(
  protection: MessageProtection,
  token: Uint8Array,
  confidential: boolean,
): Promise<Uint8Array> {
  let message: unknown
  try {
    message = await protection.unwrap(token, confidential)
  } catch (cause) {
    throw new SocksError('ERR_SOCKS_BAD_GSSAPI_FRAME', 'a token does not unwrap', { cause })
  }
  return asBytes(message, 'unwrap')
}

/** What a mechanism has returned, checked. @throws SocksError `ERR_SOCKS_HOOK_FAILED`. */
export function asBytes(value: unknown, hook: string): Uint8Array {
  if (types.isUint8Array(value)) return value
  throw mechanismError(new TypeError(`${hook} returns a Uint8Array`))
}

/** Something in the frames of a client is wrong. */
export function badFrame(message: string): SocksError {
  return new SocksError('ERR_SOCKS_BAD_GSSAPI_FRAME', message)
}

function mechanismError(cause: unknown): SocksError {
  return hookError('auth', cause, ReplyCode.generalFailure)
}
