// tubesock/codec: bytes in, values out. No runtime API beyond ES2022 and TextEncoder/TextDecoder.

export { type Address, decodeAddress, encodeAddress, UNSPECIFIED_ADDRESS } from './address.js'
export {
  type ClientEvent,
  type ClientMessage,
  type ClientRequest,
  ClientSession,
  type ClientSessionOptions,
  type ClientState,
} from './client-session.js'
export {
  AddressType,
  AUTH_VERSION,
  AuthStatus,
  Command,
  GSSAPI_VERSION,
  GssapiMessageType,
  Method,
  ProtectionLevel,
  ReplyCode,
  SOCKS4_VERSION,
  Socks4ReplyCode,
  VERSION,
} from './constants.js'
export type { Decoded } from './decoded.js'
export { canonicalIP, type Destination, formatDestination, parseDestination, toDestination } from './destination.js'
export {
  type DissectedField,
  type DissectedMessage,
  type Dissection,
  type DissectionProblem,
  type DissectOptions,
  dissect,
  type MessageKind,
} from './dissect.js'
export {
  isSocksError,
  PEER_ERROR_CODES,
  SOCKS_ERROR_CODES,
  SocksError,
  type SocksErrorCode,
  type SocksErrorDetails,
} from './errors.js'
export {
  decodeGreeting,
  decodeMethodSelection,
  encodeGreeting,
  encodeMethodSelection,
  type Greeting,
  type MethodSelection,
} from './greeting.js'
export { decodeGssapiFrame, encodeGssapiFrame, type GssapiFrame } from './gssapi.js'
export { Inbox } from './inbox.js'
export { formatIPv4, formatIPv6, parseIP, parseIPv4, parseIPv6 } from './ip.js'
export { type AddressKind, classifyIP } from './ip-kind.js'
export {
  decodeProxyHeader,
  encodeProxyHeader,
  type ProxyEndpoint,
  type ProxyHeader,
  type ProxyTlv,
} from './proxy-header.js'
export { decodeReply, encodeReply, type Reply, replyError } from './reply.js'
export { decodeRequest, encodeRequest, type Request, type RequestOptions } from './request.js'
export {
  type ServerEvent,
  type ServerMessage,
  type ServerRequest,
  ServerSession,
  type ServerSessionOptions,
  type ServerState,
} from './server-session.js'
export { Session, type SessionOptions } from './session.js'
export {
  decodeSocks4Reply,
  decodeSocks4Request,
  encodeSocks4Reply,
  encodeSocks4Request,
  type Socks4Reply,
  type Socks4Request,
} from './socks4.js'
export { decodeUdpDatagram, encodeUdpDatagram, encodeUdpHeader, type UdpDatagram } from './udp-header.js'
export {
  type Credentials,
  type CredentialsOptions,
  credentialsFromText,
  credentialsToText,
  decodeCredentials,
  decodeUserPassStatus,
  encodeCredentials,
  encodeUserPassStatus,
  type UserPassStatus,
} from './userpass.js'
