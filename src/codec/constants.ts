// Wire numbers. Every block names the text that assigns them.

/** First byte of a SOCKS5 greeting, selection, request and reply. RFC 1928 section 3, 4, 6. */
export const VERSION = 0x05

/** First byte of both RFC 1929 messages (the version of the sub-negotiation, not of SOCKS). */
export const AUTH_VERSION = 0x01

/** Authentication methods. RFC 1928 section 3; 0x80 to 0xfe are private. */
export const Method = {
  noAuth: 0x00,
  gssapi: 0x01,
  userPass: 0x02,
  noAcceptable: 0xff,
} as const

/** Commands of a request. RFC 1928 section 4; `resolve` and `resolvePtr` are Tor's (socks-extensions, section 2). */
export const Command = {
  connect: 0x01,
  bind: 0x02,
  udpAssociate: 0x03,
  resolve: 0xf0,
  resolvePtr: 0xf1,
} as const

/** Address types (ATYP). RFC 1928 section 5. */
export const AddressType = {
  ipv4: 0x01,
  domain: 0x03,
  ipv6: 0x04,
} as const

/** Reply codes (REP). RFC 1928 section 6. */
export const ReplyCode = {
  succeeded: 0x00,
  generalFailure: 0x01,
  notAllowed: 0x02,
  networkUnreachable: 0x03,
  hostUnreachable: 0x04,
  connectionRefused: 0x05,
  ttlExpired: 0x06,
  commandNotSupported: 0x07,
  addressTypeNotSupported: 0x08,
} as const

/** Status of an RFC 1929 answer: zero is success, every other value is failure. RFC 1929 section 2. */
export const AuthStatus = {
  success: 0x00,
  failure: 0x01,
} as const

/** First byte of a SOCKS4 request. SOCKS4 memo (Ying-Da Lee, "SOCKS: A protocol for TCP proxy across firewalls"). */
export const SOCKS4_VERSION = 0x04

/** Reply codes (CD) of SOCKS4. SOCKS4 memo. */
export const Socks4ReplyCode = {
  granted: 0x5a,
  /** Rejected or failed: the one code for every reason but the two below. */
  rejected: 0x5b,
  /** The server cannot reach an identd on the client's host. */
  noIdentd: 0x5c,
  /** The identd on the client's host names another user. */
  identityMismatch: 0x5d,
} as const

/** First byte of a GSSAPI message (the version of the sub-negotiation). RFC 1961 section 3.4. */
export const GSSAPI_VERSION = 0x01

/** Message types (MTYP) of GSSAPI. RFC 1961 section 3.4, 4.3, 5 and, for `abort`, 3.8. */
export const GssapiMessageType = {
  authentication: 0x01,
  protection: 0x02,
  encapsulated: 0x03,
  abort: 0xff,
} as const

/** Protection levels, the one byte that a `protection` message holds once it is unwrapped. RFC 1961 section 4.3. */
export const ProtectionLevel = {
  /** Not in the RFC: Dante and curl ask for no protection at all by it. */
  none: 0,
  integrity: 1,
  /** Integrity and confidentiality. */
  confidentiality: 2,
  /** Chosen anew for each message. */
  selective: 3,
} as const
