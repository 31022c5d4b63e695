package devices

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// A device that moves is hidden from its new node for Config.MoveDelay, so that two nodes do
// not drive it. The old node hears of the move at once, if it has a link. One without a link
// drives the device until it hears of it, which nobody can prevent: the event says so.

// move is a change of a device's node that is under way.
type move struct {
	from, to string
	until    time.Time
}

// beginMove remembers a move and reports whether the new node has to wait.
func (c *Controller) beginMove(name cache.Name, from, to string) bool {
	if from == "" || to == "" || c.cfg.MoveDelay < 0 {
		c.mu.Lock()
		delete(c.moves, name)
		c.mu.Unlock()
		return false
	}
	c.mu.Lock()
	c.moves[name] = move{from: from, to: to, until: time.Now().Add(c.cfg.MoveDelay)}
	c.mu.Unlock()
	return true
}

// movingTo reports whether the node has to wait for a device.
func (c *Controller) movingTo(name cache.Name, node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.moves[name]
	return ok && m.to == node && time.Now().Before(m.until)
}

// finishMove gives a device to its new node when the time has come.
func (c *Controller) finishMove(ctx context.Context, device *v1beta1.Device) {
	name := cache.Name{Namespace: device.Namespace, Name: device.Name}
	c.mu.Lock()
	m, ok := c.moves[name]
	rest := time.Until(m.until)
	if ok && rest <= 0 {
		delete(c.moves, name)
	}
	queue := c.queue
	c.mu.Unlock()
	if !ok {
		return
	}
	if rest > 0 {
		queue.AddAfter(name, rest) // a queue keeps only the next time of a name: this comes last
		return
	}
	c.notifier.Notify(m.to, deviceKey(name))
	text := fmt.Sprintf("from node %s to node %s; a node without a link to the cloud drives the device until it hears of the move", m.from, m.to)
	// Several cloudcores create one event, since its name says what it is about.
	if err := c.createEvent(ctx, device, fmt.Sprintf("moved.%d", device.Generation), corev1.EventTypeNormal, EventMoved, text); err != nil && ctx.Err() == nil {
		c.cfg.Logger.Warn("an event of a Device could not be created", "namespace", name.Namespace, "device", name.Name, "reason", EventMoved, "err", err)
	}
}
