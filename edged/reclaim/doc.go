// Package reclaim keeps the disk of a node from filling up: it rotates the logs of
// containers, collects images that nobody uses, and removes containers that have
// ended for good.
//
//	images, err := reclaim.NewImages(reclaim.ImagesConfig{Runtime: rt, Store: rt, InUse: agent.images})
//	...
//	err = images.Run(ctx)                       // every five minutes, by the thresholds
//	freed, err := images.ReclaimAll(ctx)        // at once, all that is unused
//
// # The loop
//
// [Logs], [Images] and [Containers] work alike. They look at what is there, ask a
// pure function what to do (planLog, expired and collectable, planDead), and do it. A
// crash at any point leaves a state that the next look recognizes: a log that was renamed
// and not opened again, a half-written compressed file, an image or a container that is
// still there.
//
// # What is safe
//
//   - No line of a log is lost: a file that a container may still write to is neither
//     compressed nor removed. The oldest files go when there are more than the limit.
//   - An image stays while a container has it, a pod of the node names it, whether or
//     not it has begun, the runtime has pinned it or makes sandboxes of it, or the
//     caller names it. That is asked again right before an image is removed, and
//     [Images.Settle] lets a pod that starts wait for that moment.
//   - Containers are removed of pods that are over, and whose last status is durable.
//
// Logs and Images each have a Run, which blocks until its context ends. All methods
// may be called by several goroutines.
package reclaim
