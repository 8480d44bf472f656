// Sends events and evaluates flags with posthog-node, remotely and locally.
// The argument is the base URL of an emulator.
import { createRequire } from 'node:module'
import path from 'node:path'

const require = createRequire(path.join(process.cwd(), 'package.json'))
const { PostHog } = require('posthog-node')

const host = process.argv[2]
const client = new PostHog('phc_emulator', { host, flushAt: 5, flushInterval: 50, fetchRetryCount: 1 })
client.capture({ distinctId: 'visitor', event: 'anonymous visit' })
client.capture({ distinctId: 'ada', event: '$identify', properties: { $anon_distinct_id: 'visitor' } })
client.identify({ distinctId: 'ada', properties: { email: 'ada@example.com', plan: 'pro' } })
client.alias({ distinctId: 'ada', alias: 'ada@example.com' })
client.groupIdentify({ groupType: 'company', groupKey: 'acme', properties: { seats: 7 } })
client.capture({ distinctId: 'ada', event: 'paid', groups: { company: 'acme' }, properties: { amount: 12.5 } })
client.captureException(new Error('no such cart'), 'ada')
await client.flush()

const remote = {
    all: await client.getAllFlags('ada'),
    on: await client.isFeatureEnabled('on', 'ada'),
    off: await client.isFeatureEnabled('off', 'ada'),
    variant: await client.getFeatureFlag('layout', 'ada'),
    payload: await client.getFeatureFlagPayload('layout', 'ada'),
    special: await client.isFeatureEnabled('special', 'ada'),
}
await client.shutdown()

const local = new PostHog('phc_emulator', { host, personalApiKey: 'phx_emulator', featureFlagsPollingInterval: 3600_000 })
await local.reloadFeatureFlags()
const staff = {}
for (const email of ['ada@example.com', 'bob@elsewhere.org']) {
    staff[email] = await local.isFeatureEnabled('staff', 'someone', {
        personProperties: { email },
        onlyEvaluateLocally: true,
        sendFeatureFlagEvents: false,
    })
}
const config = await local.getRemoteConfigPayload('settings')
await local.shutdown()

process.stdout.write(JSON.stringify({ remote, staff, config }))
