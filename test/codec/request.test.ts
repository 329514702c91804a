import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Command, decodeRequest, encodeRequest } from '../../src/codec/index.js'
import { address, byte } from '../support/arbitraries.js'
import { bytes, hex } from '../support/bytes.js'
import { describeLaws, expectInvalidArgument, expectOutOfRange, NOT_BYTES, NOT_PORTS, socksError } from './laws.js'

const request = fc.record({ command: byte, address })

describeLaws('a request', { values: request, encode: encodeRequest, decode: decodeRequest })

describeLaws('a request read strictly', {
  values: request,
  encode: encodeRequest,
  decode: (input, offset) => decodeRequest(input, offset, { strictReserved: true }),
})

const LOCAL_80 = '01 7f000001 0050'

describe('request', () => {
  it('S42 a wrong version is refused on its byte', () => {
    for (const first of [0x00, 0x01, 0x04, 0x06, 0xff]) {
      socksError(() => decodeRequest(Uint8Array.of(first)), 'ERR_SOCKS_BAD_VERSION')
    }
  })

  it('S43 the reserved byte is ignored by default, refused strictly, and always sent as 00', () => {
    for (let reserved = 1; reserved <= 0xff; reserved++) {
      const message = Uint8Array.of(0x05, 0x01, reserved, ...bytes(LOCAL_80))
      expect(decodeRequest(message)?.value.command).toBe(Command.connect)
      socksError(() => decodeRequest(message, 0, { strictReserved: true }), 'ERR_SOCKS_BAD_RESERVED')
    }
    fc.assert(
      fc.property(request, (value) => {
        expect(encodeRequest(value)[2]).toBe(0)
      }),
    )
  })

  it('S44 an unknown command still has its whole address read', () => {
    for (const command of [0x00, 0x04, 0x09, 0x7f, 0x80, 0xff]) {
      expect(decodeRequest(bytes(`05 ${hex(Uint8Array.of(command))} 00 03 0b 6578616d706c652e636f6d 01bb`))).toEqual({
        value: { command, address: { type: 'domain', host: 'example.com', port: 443 } },
        bytesRead: 18,
      })
    }
  })

  it('S46 an unknown address type is refused before anything behind it has come', () => {
    for (const atyp of [0x00, 0x02, 0x05, 0xff]) {
      socksError(() => decodeRequest(Uint8Array.of(0x05, 0x01, 0x00, atyp)), 'ERR_SOCKS_BAD_ADDRESS_TYPE')
    }
  })

  it('S47 of a bad command and a bad address type the address type is the one error', () => {
    socksError(() => decodeRequest(bytes('05 09 00 05 7f000001 0050')), 'ERR_SOCKS_BAD_ADDRESS_TYPE')
  })

  it('S52 a domain of 255 bytes still parses', () => {
    const decoded = decodeRequest(bytes(`05 01 00 03 ff ${'78'.repeat(255)} 0050`))
    expect(decoded).toEqual({
      value: { command: 1, address: { type: 'domain', host: 'x'.repeat(255), port: 80 } },
      bytesRead: 262,
    })
  })

  it('refuses commands, ports and hosts that no message can hold', () => {
    const local = { type: 'ipv4', host: '127.0.0.1', port: 80 } as const
    for (const command of NOT_BYTES) expectOutOfRange(() => encodeRequest({ command, address: local }))
    for (const port of NOT_PORTS) expectOutOfRange(() => encodeRequest({ command: 1, address: { ...local, port } }))
    for (const host of ['', 'x'.repeat(256), 'bücher.example', 'a\0b']) {
      expectInvalidArgument(() => encodeRequest({ command: 1, address: { type: 'domain', host, port: 80 } }))
    }
  })
})
