package rules

import (
	"context"
	"net"

	"github.com/edgekit/edgekit/controller/internal/delivery"
)

// DialTargets has the URLs of rules reached by a function, before Run.
func (c *Controller) DialTargets(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.targets = delivery.NewTargets(delivery.TargetsConfig{Dial: dial})
}
