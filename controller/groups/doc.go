// Package groups is the controller of NodeGroups and EdgeApplications (group
// apps.kubeedge.io): sets of edge nodes, and applications of which each set gets a copy.
//
//	c, err := groups.New(groups.Config{Cloud: client, Dynamic: dynamic, Nodes: nodes, ID: "cloudcore-1", Namespace: "edgekit-system"})
//	err = c.Run(ctx)
//
// Package controller does this for its Config.Groups. The types are in package v1alpha1. One
// cloudcore at a time does the work, the one that holds the Lease edgekit-groups.
//
// # NodeGroups
//
// A group wants the edge nodes that it names and those that have all of its matchLabels; a group
// without matchLabels selects none by labels. A node is in one group at most: if several want it,
// the oldest has it, and all of them say so (condition Conflict). Nodes of a group get the label
// apps.kubeedge.io/belonging-to, by server-side apply with the field manager edgekit-nodegroups.
// With topologyEnabled they get topology.kubernetes.io/zone too; a zone that somebody else set is
// never changed or removed.
//
// From a node that leaves a group, the pods whose nodeSelector names the group are evicted unless
// evictOnLeave is false. The Eviction API decides, so PodDisruptionBudgets are respected. An
// annotation on the node, which is written together with the label, says which groups it left, so
// that nothing is forgotten when another cloudcore takes over.
//
// A node's own kubelet may change these labels, as any label that Kubernetes does not restrict.
// They are set again at once; for the secrets of a group use labels below
// node-restriction.kubernetes.io.
//
// # EdgeApplications
//
// render is a pure function of an application, the groups and the nodes. Deployments,
// StatefulSets, DaemonSets, Jobs and CronJobs get a copy for each target, NAME-SITE, whose pods
// run on the nodes of the target; other objects exist once. Overriders are applied to a copy in
// this order: replicas, images (init containers too), commands, args, env (order kept),
// resources, patches. The choice of nodes is added at the end, to what the template itself asks of
// nodes. A selector of nodes that asks for no label selects edge nodes only.
//
// A Job runs once at each site, and is made again when somebody deletes it. So it may not have
// ttlSecondsAfterFinished.
//
// A new copy has the label apps.edgekit.io/site in its pods and selector, so that the copies of
// two sites never share pods. A copy that existed before, made by KubeEdge, keeps its selector.
//
// Objects are applied with the field manager edgekit-applications: fields that the template does
// not have stay as others set them. An object that exists and does not belong to the application
// is not touched. What leaves the template, and copies of sites that are gone, are deleted after
// everything else was applied. With the application all of its objects go, by their owner
// references.
//
// The copies of one application may be 2000, and take 64 MiB of memory. Patches may have no YAML
// aliases.
//
// A template that cannot be applied is a condition (Applied, with the reason InvalidTemplate,
// Forbidden, AlreadyExists or Failed), and what was applied before stays. It is tried again after
// 5 s, then after twice as long, and every 5 min in the end. Nodes that come and go do not have it
// tried earlier, a change of the application does.
//
// # Who may make what
//
// cloudcore makes the objects, not the application's author, so the author must not get what he
// may not make himself:
//
//   - Objects are made only in the application's own namespace, and only of kinds that
//     Kubernetes' role edit may make. There are no Secrets, Roles, Pods or cluster-scoped objects
//     among them. Owners and finalizers of a manifest are ignored.
//   - Who has the role edit or admin in a namespace may make applications there, by aggregation
//     (edgekit:applications-edit). A ValidatingAdmissionPolicy of package install refuses an
//     application of anybody else who may not make each of the template's workloads himself.
//   - Admission that judges by the user sees cloudcore, and not the author.
//   - cloudcore may make the objects only where an administrator lets it: by a RoleBinding to
//     the ClusterRole edgekit:cloudcore-applications in a namespace, or by the manifest
//     "applications" in all. Without it the condition Applied says what to run.
//
// # Costs
//
// A look at 10,000 nodes and 100 groups takes a fraction of a second (BenchmarkAssign) and happens at
// most once a second, and only after a change. Statuses are bounded, and written at most every
// five seconds but for a new generation or condition. Writes are bounded by
// Config.WritesPerSecond.
package groups
