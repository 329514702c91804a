// tubesock/udp: datagrams through SOCKS5. The relay of a server, the association of a client, and a forwarder.

export type { Destination } from '../codec/index.js'
export { isSocksError, SocksError, type SocksErrorCode, type SocksErrorDetails } from '../codec/index.js'
export { openUdpAssociation, type UdpAssociation } from './association.js'
export type { UdpAssociationEvents, UdpAssociationStats, UdpMessage, UdpSender } from './association-events.js'
export type { UdpAssociationOptions } from './association-options.js'
export {
  createUdpForward,
  type UdpForward,
  type UdpForwardEvents,
  type UdpForwardOptions,
  type UdpForwardStats,
  type UdpListenOptions,
} from './forward.js'
export type { Decide } from './judge.js'
export type { UdpNat, UdpTarget } from './mapping.js'
export type { UdpSendCallback, UdpSendOptions } from './outgoing.js'
export {
  type Fragment,
  fragmentPayload,
  Reassembly,
  type ReassemblyOptions,
  type WholeDatagram,
} from './reassembly.js'
export { openUdpRelay, type UdpRelay } from './relay.js'
export type { UdpRelayBind, UdpRelayClient, UdpRelayOptions } from './relay-options.js'
export type { UdpDropReason, UdpRelayStats } from './relay-stats.js'
export { MAX_DATAGRAM_BYTES, maxPayloadBytes } from './size.js'
export type { AddressRegistry, SocketAddress } from './socket.js'
export type { AssociationLike, UdpLookup } from './upstream.js'
