// Pages through socks-proxy-agent.

import http from 'node:http'
import https from 'node:https'
import { SocksProxyAgent } from 'socks-proxy-agent'

const { proxies, pages, ca } = JSON.parse(process.env.INPUT)

function get(page, agent) {
  return new Promise((resolve, reject) => {
    const { get: request } = page.startsWith('https:') ? https : http
    request(page, { agent, ca }, async (response) => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      resolve(text)
    }).on('error', reject)
  })
}

const texts = []
for (const proxy of proxies) {
  const agents = [new SocksProxyAgent(proxy), new SocksProxyAgent(proxy, { keepAlive: true, timeout: 5_000 })]
  agents.push(new SocksProxyAgent(proxy, { socketOptions: { localAddress: '127.0.0.1' } }))
  for (const agent of agents) {
    for (const page of pages) texts.push(await get(page, agent), await get(page, agent))
    agent.destroy()
  }
}
console.log(JSON.stringify(texts))
