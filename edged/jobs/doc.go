// Package jobs is the node's half of fleet jobs (group operations.kubeedge.io, see package
// v1alpha2): upgrades of edgecore, pulls of images and changes of the configuration that the
// cloud asks of many nodes. Its other half is controller/jobs.
//
// # What the two halves say to each other
//
// The cloud sends each node one NodeJob for each of its jobs, as state of the resource
// nodejobs. It has all that the node needs and one word, the Permission: whether the node may
// only download, or apply, or must wait. Batches, windows, budgets and pauses are decided in
// the cloud and end in that word. The node answers with one Report for each NodeJob, as state
// of the resource nodejobreports under the same key. Both are state: what is lost with a link
// is not lost, and only the newest counts.
//
//	cloud  NodeJob{Phase: Download}   fetch and verify, and no more
//	node   Report{Phase: Pending, ActionFlow: Check True}
//	cloud  NodeJob{Phase: Apply}      when it is the node's turn
//	node   Report{Phase: InProgress, AcceptedTime}
//	node   Report{Phase: Successful, FinishedTime}
//
// A node gets Apply for an upgrade only after it has reported Check done; a pull of images and
// a change of the configuration get Apply at once. If a node does not accept within the job's
// timeout, for example because nobody confirms, its permission goes back to Download and
// another node has its turn; it comes again. A node that has accepted goes on to its end,
// whatever its permission becomes.
//
// A NodeJob is deleted from the node when the cloud has the node's last word and the node needs
// it no more: after the end of an upgrade or a change of the configuration, and with the job
// itself for a pull of images, whose images must stay until then. A Report whose NodeJob is
// gone can be deleted.
//
// # On the node
//
//	r, err := jobs.New(jobs.Config{Store: store, Reporter: mgr, Programs: upgrader, Settings: settings, Restart: upgrader.Restart, Images: agent, Version: "v1.2.3"})
//	err = r.Run(ctx)
//
// A Runner does one job at a time, the oldest that has something to do; others are Pending with
// the reason WaitingForJob. A job that waits for its turn or for a confirmation holds up none but
// younger ones of its kind. While a trial is on, nothing else is done.
//
// All that it has to remember is in the node's store, each step before what follows it: a kill of
// the program or a power cut anywhere goes on to the same end. A trial itself belongs to package
// edged/upgrade: the Runner asks for it, and after the restart reads what became of it.
//
//	kind              steps                                              what is undone if it goes before it has begun
//	NodeUpgradeJob    Check WaitingConfirmation BackUp Upgrade RollBack  the download is discarded
//	ImagePrePullJob   Check Pull                                         the images are not pinned any more
//	ConfigUpdateJob   Check BackUp Update RollBack                       nothing was done
//
// The health gate of a trial asks for the pods that were ready before it, and for the link if there
// was one. Right after a start of the machine few pods are ready; so a job that needs a gate first
// waits until the node has settled: each pod is ready, or was not ready for longer than
// Config.SettleTimeout, which the store remembers; and the link is up, if there was one. Until then its reason is
// Settling. It waits for SettleTimeout at most and then goes on, and the report says what was
// missing. Jobs behind it wait too.
//
// A job whose trial has begun goes on to its end, though it is cancelled, deleted or replaced.
//
// # At the machine
//
// Confirm, Refuse, Upgrade and Rollback are what somebody at the machine may do, without the cloud
// too. A yes counts while it is the node's turn, and for no later one. An upgrade that was begun at
// the machine is a job of this node alone; the cloud does not hear of it.
//
// # Events
//
// Config.Event gets these reasons, where KIND is NodeUpgrade, ImagePrePull or ConfigUpdate:
//
//	KINDStarted                 Normal   the job has begun to change the node
//	KINDWaitingForConfirmation  Normal   somebody at the machine must say yes
//	KINDSuccessful              Normal   it has ended well
//	KINDFailed                  Warning  it has failed, was refused or cancelled; the node is as it was
//	KINDRolledBack              Warning  the node was changed, and went back
//
// The reasons of a Report are the constants Reason... of this package and of v1alpha2.
//
// # Secrets
//
// Pull secrets travel with the job and are forgotten at its end; nothing logs them. The log of a
// program that was rolled back goes up with what looks like a secret taken out.
package jobs
