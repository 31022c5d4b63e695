// Package members knows which cloudcores of a cluster run, and shares the work among them that
// belongs to no node's session.
//
// Each cloudcore has a Lease of its own, beside those of package nodelifecycle, renews it every
// [RenewEvery] and lists those of the others as often. A cloudcore whose Lease has not changed for
// [Life], by the clock of whoever looks, has gone; clocks are not compared, and a time in
// which the Leases could not be read does not count. One that stops deletes its Lease, so that the others
// need not wait.
//
// [Members.Mine] gives every piece of work, by its name, to one of those that run. All of them come to
// the same answer, but not at the same moment: for a few seconds after a cloudcore has come or
// gone, two may think that work is theirs, or none. So what Mine gates must be harmless when it is
// done twice, and must be looked at again later.
//
// While the Leases cannot be read, for example with a role of an earlier version, nothing is known
// of the others, and all work is everyone's, as it was before this package.
//
// Methods may be called by several goroutines at once, before, while and after Run runs.
package members
