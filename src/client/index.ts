// tubesock/client: connect through SOCKS proxies.

export type { Address, AddressKind, Credentials, Destination } from '../codec/index.js'
export {
  isSocksError,
  SOCKS_ERROR_CODES,
  SocksError,
  type SocksErrorCode,
  type SocksErrorDetails,
} from '../codec/index.js'
export type {
  UdpAssociation,
  UdpAssociationEvents,
  UdpAssociationStats,
  UdpMessage,
  UdpSendCallback,
  UdpSender,
  UdpSendOptions,
} from '../udp/index.js'
export type { Accepted, AcceptOptions, BindRequestOptions, BoundListener } from './bind.js'
export type { Connection, Hop } from './chain.js'
export { type ConnectOptions, type LookUpOptions, SocksClient, type SocksClientOptions } from './client.js'
export type { Dialer, DialRequest } from './dialer.js'
export { type ProxyTarget, proxyFromEnv } from './env.js'
export { type HandshakeRequest, type HandshakeResult, type HandshakeStage, handshake } from './handshake.js'
export type { ProxyLike, ProxyOptions } from './proxy-url.js'
export type { UdpAssociateOptions } from './udp.js'
