import type { SocksError } from '../codec/index.js'

/** Who sent a datagram, in the shape of `dgram`. */
export interface UdpSender {
  /** Canonical IP literal; or a name, from relays that answer with what was asked for. */
  readonly address: string
  readonly family: 'IPv4' | 'IPv6' | 'domain'
  readonly port: number
  /** Bytes of the payload. */
  readonly size: number
}

/** A datagram, as a loop over an association gets it. */
export interface UdpMessage extends UdpSender {
  readonly data: Buffer
}

/** Events of a {@link UdpAssociation}, by name, with their arguments. */
export interface UdpAssociationEvents {
  message: [data: Buffer, from: UdpSender]
  /** The proxy has ended the association, or its connection broke; `'close'` follows. Without a listener nothing is thrown. */
  error: [error: SocksError]
  /** Nothing more will come, whoever ended it. */
  close: []
}

/** What an association has done so far. Bytes are those of payloads. */
export interface UdpAssociationStats {
  /** Handed to the system. */
  readonly datagramsSent: number
  readonly bytesSent: number
  readonly datagramsReceived: number
  readonly bytesReceived: number
  readonly dropped: {
    /** From the relay, without a header that makes sense. */
    readonly malformed: number
    /** Fragments, which are not put together, or became no datagram. */
    readonly fragment: number
    /** Pushed out of a loop's queue by newer ones. */
    readonly overflow: number
    /** To be sent, but the name has no address, or too many wait. */
    readonly unsent: number
    /** Errors that the system has reported. */
    readonly system: number
  }
}
