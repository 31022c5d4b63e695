// Package jobs is the cloud's half of fleet jobs (group operations.kubeedge.io): it brings
// upgrades of edgecore, pulls of images and changes of the configuration to many nodes, in
// batches, at their times, and not to too many at once. Its other half is edged/jobs.
//
//	c, err := jobs.New(jobs.Config{Cloud: client, Dynamic: dynamic, Nodes: nodes, ID: "cloudcore-1", Namespace: "edgekit-system"})
//	// hub.Node{Down: ... c.Source(node), Up: ... c.Writers()}
//	err = c.Run(ctx)
//
// Package controller does this for its Config.Jobs.
//
// # Where things are
//
//	NodeUpgradeJob, ImagePrePullJob, ConfigUpdateJob   what a user asks for, and the counts
//	NodeJobResult                                      one for each node and job: the node's permission (spec) and what it did (status)
//	the mirror of each node                            its NodeJobs, made of its results and their jobs
//
// All state is in the API server. Any cloudcore serves any node: it reads the node's results,
// and writes the node's reports into them. The decisions are made by one cloudcore at a time,
// the one that holds the Lease edgekit-jobs; when it is gone another takes over within 15 s and
// goes on from what is stored. Two never decide at a time: who leads stops its work when it
// could not renew the Lease for 10 s, who takes over reads all results from the API server
// before it decides, and every write has the version that it was decided from as a condition.
//
// # How a job is decided
//
// decide is a pure function of a job, the nodes, their results and the time. It gives each node
// that has not ended a permission:
//
//   - Nodes take part batch by batch. A batch is done when no node of it works, none with a link
//     waits, and enough have succeeded. Nodes that are away do not hold it up; they do the job
//     when they return.
//   - A node may Download when the download window is open, at most 50 nodes (or ten times the
//     concurrency) at a time.
//   - A node may Apply when it has a link, has what it needs, the apply window is open, no
//     older job has work for it, a place is free (concurrency) and its group has room in the
//     disruption budget. Nothing is given to a node without a link: it could not hear of it, and
//     would hold a place.
//   - A place is taken from the permission on, until postCompleteDelay after the node has ended.
//     A node that does not accept within the job's time goes to the end of the queue when
//     another waits; one that accepted and does not report in time becomes Unknown. So a lost
//     node keeps no place for ever.
//   - The job fails as soon as more nodes failed than failureTolerate allows, or a batch cannot
//     reach its successThreshold. Then, and when it is cancelled, no further node begins;
//     nodes that work go on to their end.
//
// # What a late node says counts
//
// Unknown and DeadlineExceeded are the cloud's words. A later report of the node replaces them,
// also after the job has ended: its counts follow, and a job that had failed only because of
// such nodes becomes Completed. What a node itself said of its end stays.
//
// # Two jobs for one node
//
// A node works for one job at a time, the oldest first. The younger job says so in its status
// (WaitingForJob) and in that of the node.
//
// # Costs
//
// A look at a job of 10,000 nodes takes some milliseconds (BenchmarkDecide) and happens at most
// once a second, and only when something has changed or is due. The status of a job is written
// at most every five seconds, but for a new phase or batch, and has at most 50 nodes. Writes are
// bounded by Config.WritesPerSecond. A result takes about 2 KiB in etcd, and the log of a node that
// failed up to 64 KiB more: after 100 nodes of a job only 4 KiB. Results stay as long as their job:
// set ttlSecondsAfterFinished, or delete jobs that nobody needs any more.
//
// # What must be allowed
//
// The pull secret of an ImagePrePullJob is read by cloudcore itself. It may do so only where an
// operator lets it, by a Role in the secret's namespace for the ServiceAccount cloudcore.
package jobs
