// What the README of npm socks shows, on loopback.

import dgram from 'node:dgram'
import { once } from 'node:events'
import net from 'node:net'
import { SocksClient } from 'socks'

const { port, port4, page, echoPort } = JSON.parse(process.env.INPUT)
const proxy = { host: '127.0.0.1', port, type: 5 }
const proxies = [proxy, { ipaddress: '127.0.0.1', port: port4, type: 4 }]
const command = 'connect'
const results = {}

async function ask(socket) {
  socket.write('GET / HTTP/1.0\r\n\r\n')
  let text = ''
  socket.on('data', (data) => {
    text += data.toString()
  })
  await once(socket, 'close')
  return text.split('\r\n\r\n')[1]
}

function viaCallback(start, options) {
  return new Promise((resolve, reject) => {
    start(options, (err, info) => {
      if (!err) resolve(ask(info.socket))
      else reject(err)
    })
  })
}

async function bind(type) {
  const client = new SocksClient({
    proxy: { host: '127.0.0.1', port: type === 4 ? port4 : port, type },
    command: 'bind',
    destination: { host: '0.0.0.0', port: 0 },
  })
  client.on('bound', (info) => net.connect(info.remoteHost.port, info.remoteHost.host).end('from the peer'))
  const received = new Promise((resolve, reject) => {
    client.on('error', reject)
    client.on('established', (info) => info.socket.on('data', (data) => resolve(data.toString())))
  })
  client.connect()
  return await received
}

async function associate() {
  const udpSocket = dgram.createSocket('udp4')
  udpSocket.bind()
  const answered = once(udpSocket, 'message')
  const client = new SocksClient({ proxy, command: 'associate', destination: { host: '0.0.0.0', port: 0 } })
  client.on('established', (info) => {
    const packet = SocksClient.createUDPFrame({
      remoteHost: { host: '127.0.0.1', port: echoPort },
      data: Buffer.from('hello'),
    })
    udpSocket.send(packet, info.remoteHost.port, info.remoteHost.host)
    answered.then(() => info.socket.destroy())
  })
  client.connect()
  const [message] = await answered
  udpSocket.close()
  const { frameNumber, remoteHost, data } = SocksClient.parseUDPFrame(message)
  return [frameNumber, remoteHost.host, remoteHost.port === echoPort, data.toString()]
}

const { socket } = await SocksClient.createConnection({ proxy, command, destination: page })
results.promise = await ask(socket)
results.callback = await viaCallback(SocksClient.createConnection, { proxy, command, destination: page })
const chained = await SocksClient.createConnectionChain({ proxies, command, destination: page })
results.firstProxy = `${chained.socket.remoteAddress}:${chained.socket.remotePort}`
results.chain = await ask(chained.socket)
results.chainCallback = await viaCallback(SocksClient.createConnectionChain, { proxies, command, destination: page })
results.bind = [await bind(5), await bind(4)]
results.associate = await associate()
console.log(JSON.stringify(results))
