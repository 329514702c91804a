// Pages through fetch-socks: its dispatcher and its connector, one proxy and a chain.

import { socksConnector, socksDispatcher } from 'fetch-socks'
import { Agent, fetch } from 'undici'

const { proxies, pages, ca } = JSON.parse(process.env.INPUT)
const dispatchers = [
  socksDispatcher(proxies[0], { connect: { ca } }),
  socksDispatcher(proxies, { connect: { ca } }),
  new Agent({ connect: socksConnector(proxies[0], { ca }) }),
  new Agent({ connect: socksConnector(proxies, { ca }) }),
]
const texts = []
for (const dispatcher of dispatchers) {
  for (const page of pages) texts.push(await (await fetch(page, { dispatcher })).text())
  await dispatcher.close()
}
console.log(JSON.stringify(texts))
