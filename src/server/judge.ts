import { classifyIP, formatDestination, parseIP, ReplyCode, SocksError } from '../codec/index.js'
import { type Cancellation, untilCancelled } from './cancellation.js'
import type { Candidate } from './dial.js'
import { type EgressCandidate, type EgressPolicy, egress, isLoopback } from './egress.js'
import { hookError } from './operation.js'
import type { OwnAddresses } from './own-addresses.js'
import { ruleOf, type Subject } from './patterns.js'
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

  /** Resolves to the rules that have admitted the request. Rejects with a SocksError that denies it, or when it is called off. */
  async authorize(request: OutboundRequest, cancellation: Cancellation): Promise<readonly string[]> {
    const authorize = this.#authorize
    if (authorize === undefined) return []
    let verdict: unknown
    try {
      verdict = await untilCancelled(cancellation, () => authorize(request))
    } catch (error) {
      throw cancellation.isCancelled ? error : hookError('authorize', error, ReplyCode.notAllowed)
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
    if (foreign.length > 0) return { candidates: foreign, rule: admission.rule }
    throw new SocksError('ERR_SOCKS_LOOP', 'the target is this proxy itself', {
      replyCode: ReplyCode.notAllowed,
      target: formatDestination(request),
      rule: 'loop guard',
    })
  }

  /** The candidates that `egress` allows, whoever listens there. @throws SocksError when there is none. */
  judgeAddresses(candidates: readonly Candidate[], request: OutboundRequest): Admission {
    const policy = this.#egress ?? defaultPolicy(request)
    let allowed: Candidate[] = []
    let decisive: EgressCandidate | undefined
    for (const candidate of candidates) {
      const judged = toJudge(candidate)
      if (judged !== undefined && askEgress(policy, judged, request)) {
        // The first that is allowed decides, or else the first.
        if (allowed.length === 0) {
          decisive = judged
          allowed = [candidate]
        } else allowed.push(candidate)
      } else decisive ??= judged
    }
    const rule = `egress ${decisive === undefined ? policy.name : ruleOf(policy, subjectOf(decisive, request))}`
    if (allowed.length > 0) return { candidates: allowed, rule }
    const what = decisive === undefined ? '' : `: ${decisive.host} is ${decisive.kind}`
    throw new SocksError('ERR_SOCKS_EGRESS_DENIED', `denied by ${rule}${what}`, {
      replyCode: ReplyCode.notAllowed,
      target: formatDestination(request),
      rule,
    })
  }
}

/** The candidate as policies see it; `undefined` for what is no address, which no policy is asked about. */
function toJudge({ type, host, port }: Candidate): EgressCandidate | undefined {
  const bytes = parseIP(host)
  return bytes === undefined ? undefined : { type, host, port, kind: classifyIP(bytes) }
}

function subjectOf({ type, host, port }: EgressCandidate, { command }: OutboundRequest): Subject {
  return { type, host, port, command }
}

function askEgress(policy: EgressPolicy, candidate: EgressCandidate, request: OutboundRequest): boolean {
  try {
    const isAllowed: unknown = policy(candidate, request)
    if (isAllowed instanceof Promise) isAllowed.catch(() => {})
    if (typeof isAllowed !== 'boolean') throw new TypeError('egress returned no boolean')
    return isAllowed
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
