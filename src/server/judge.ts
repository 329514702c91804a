import { classifyIP, formatDestination, parseIP, ReplyCode, SocksError } from '../codec/index.js'
import type { Candidate } from './dial.js'
import { type EgressCandidate, type EgressPolicy, egress, isLoopback } from './egress.js'
import { hookError, untilAborted } from './operation.js'
import type { OwnAddresses } from './own-addresses.js'
import { ruleOf } from './patterns.js'
import type { Authorize, OutboundRequest } from './request.js'

/** A verdict that admits, and the rule that made it. */
export interface Admission {
  readonly candidates: Candidate[]
  readonly rule: string
}

/** The rules of a way out, asked in their order: `authorize` before DNS, `egress` for every address, the loop guard last. */
export class Judge {
  readonly #authorize: Authorize | undefined
  readonly #egress: EgressPolicy | undefined
  readonly #own: OwnAddresses

  constructor(authorize: Authorize | undefined, egress: EgressPolicy | undefined, own: OwnAddresses) {
    this.#authorize = authorize
    this.#egress = egress
    this.#own = own
  }

  /** Resolves to the rules that have admitted the request. Rejects with a SocksError that denies it. */
  async authorize(request: OutboundRequest): Promise<readonly string[]> {
    const authorize = this.#authorize
    if (authorize === undefined) return []
    let verdict: unknown
    try {
      verdict = await untilAborted(request.signal, () => authorize(request))
    } catch (error) {
      throw request.signal.aborted ? error : hookError('authorize', error, ReplyCode.notAllowed)
    }
    if (verdict !== true && verdict !== false && !isFailureCode(verdict)) {
      const cause = new TypeError('authorize returned neither a boolean nor a reply code from 1 to 8')
      throw hookError('authorize', cause, ReplyCode.notAllowed)
    }
    const rule = `authorize ${ruleOf(authorize, request)}`
    if (verdict === true) return [rule]
    throw new SocksError('ERR_SOCKS_NOT_ALLOWED', `denied by ${rule}`, {
      replyCode: verdict === false ? ReplyCode.notAllowed : verdict,
      target: formatDestination(request),
      rule,
    })
  }

  /** The candidates that may be dialed. @throws SocksError when there is none. */
  judge(candidates: readonly Candidate[], request: OutboundRequest): Admission {
    const admission = this.judgeAddresses(candidates, request)
    const foreign = admission.candidates.filter(({ host, port }) => !this.#own.has(host, port))
    if (foreign.length > 0) return { ...admission, candidates: foreign }
    throw new SocksError('ERR_SOCKS_LOOP', 'the target is this proxy itself', {
      replyCode: ReplyCode.notAllowed,
      target: formatDestination(request),
      rule: 'loop guard',
    })
  }

  /** The candidates that `egress` allows, whoever listens there. @throws SocksError when there is none. */
  judgeAddresses(candidates: readonly Candidate[], request: OutboundRequest): Admission {
    const policy = this.#egress ?? defaultPolicy(request)
    const verdicts = candidates.map((candidate) => askEgress(policy, candidate, request))
    const allowed = candidates.filter((_candidate, index) => verdicts[index]?.isAllowed)
    const decisive = verdicts.find(({ isAllowed }) => isAllowed) ?? verdicts[0]
    const rule = `egress ${decisive === undefined ? policy.name : ruleOf(policy, { ...decisive.candidate, command: request.command })}`
    if (allowed.length > 0) return { candidates: allowed, rule }
    const what = decisive === undefined ? '' : `: ${decisive.candidate.host} is ${decisive.candidate.kind}`
    throw new SocksError('ERR_SOCKS_EGRESS_DENIED', `denied by ${rule}${what}`, {
      replyCode: ReplyCode.notAllowed,
      target: formatDestination(request),
      rule,
    })
  }
}

function askEgress(
  policy: EgressPolicy,
  { type, host, port }: Candidate,
  request: OutboundRequest,
): { readonly candidate: EgressCandidate; readonly isAllowed: boolean } {
  const bytes = parseIP(host)
  const candidate: EgressCandidate = { type, host, port, kind: bytes === undefined ? 'reserved' : classifyIP(bytes) }
  if (bytes === undefined) return { candidate, isAllowed: false }
  try {
    const isAllowed: unknown = policy(candidate, request)
    if (isAllowed instanceof Promise) isAllowed.catch(() => {})
    if (typeof isAllowed !== 'boolean') throw new TypeError('egress returned no boolean')
    return { candidate, isAllowed }
  } catch (error) {
    throw hookError('egress', error, ReplyCode.notAllowed)
  }
}

const ANY = egress.any()
const NO_LOCAL = egress.noLocal()

/** Where no policy was given: a client on this host may reach anything, every other one what is not local to the proxy. */
function defaultPolicy({ clientAddress, session }: OutboundRequest): EgressPolicy {
  const isLocal = session?.isLocal ?? (clientAddress !== undefined && isLoopback(clientAddress))
  return isLocal ? ANY : NO_LOCAL
}

function isFailureCode(verdict: unknown): verdict is number {
  return Number.isInteger(verdict) && Number(verdict) >= 1 && Number(verdict) <= 8
}
