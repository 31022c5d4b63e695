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
package jobs
