// @ts-check
// Node's own fetch through a SOCKS proxy with a password: ten requests on one connection, and what a failure looks like.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createSocksServer, socksConnector, userPass } from 'tubesock'

// In your project: `import { Agent } from 'undici'`, of the major that Node has built in. Here each major has a name.
const { Agent } = await import(`undici${process.versions.undici?.split('.')[0]}`)

const site = createServer((request, response) => response.end(`page ${request.url}`)).listen(0, '127.0.0.1')
await once(site, 'listening')
const address = site.address()
if (typeof address !== 'object' || address === null) throw new Error('it does not listen')

const proxy = createSocksServer({ auth: userPass({ alice: 'wonderland' }) })
const { port } = await proxy.listen(0)
let tunnels = 0
proxy.on('established', () => tunnels++)

const dispatcher = new Agent({
  connections: 1,
  connect: socksConnector(`socks5h://alice:wonderland@127.0.0.1:${port}`, {}, { timeoutMs: 5_000 }),
})

for (let page = 1; page <= 10; page++) {
  // What Node's types know of fetch leaves the dispatcher out.
  const options = /** @type {RequestInit} */ ({ dispatcher })
  const response = await fetch(`http://127.0.0.1:${address.port}/${page}`, options)
  console.log(await response.text())
}
console.log(`tunnels: ${tunnels}`)
await dispatcher.close()

// The reason is the cause of fetch's own error.
const stranger = new Agent({ connect: socksConnector(`socks5h://alice:looking-glass@127.0.0.1:${port}`) })
try {
  await fetch(`http://127.0.0.1:${address.port}/`, /** @type {RequestInit} */ ({ dispatcher: stranger }))
} catch (error) {
  if (!(error instanceof Error)) throw error
  console.log(error.cause)
}
await stranger.close()

site.close()
await proxy.close()
