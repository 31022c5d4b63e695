package join

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Lives is implemented by a store that has, for some nodes, how long their certificates
// are valid.
type Lives interface {
	// Life returns how long a certificate of the node is to be valid; 0 means
	// HandlerConfig.Life.
	Life(ctx context.Context, node string) (time.Duration, error)
}

const (
	defaultMinLife = time.Hour
	defaultMaxLife = DefaultCALife
)

// setLives checks the settings about lives, and sets their defaults.
func (c *HandlerConfig) setLives() error {
	if c.Life == 0 {
		c.Life = DefaultNodeLife
	}
	switch {
	case c.MinLife < 0 || c.MaxLife < 0:
		return errors.New("join: HandlerConfig.MinLife and MaxLife must not be negative: leave them 0 for the default")
	case !(c.RenewAt >= 0 && c.RenewAt < 1): // also NaN
		return fmt.Errorf("join: HandlerConfig.RenewAt is %v: want a share of the life above 0 and below 1, or 0 for two thirds", c.RenewAt)
	}
	if c.MinLife == 0 {
		c.MinLife = min(defaultMinLife, c.Life)
	}
	if c.MaxLife == 0 {
		c.MaxLife = max(defaultMaxLife, c.Life)
	}
	if c.Life < c.MinLife || c.Life > c.MaxLife {
		return fmt.Errorf("join: HandlerConfig.Life is %s: want MinLife (%s) to MaxLife (%s)", c.Life, c.MinLife, c.MaxLife)
	}
	return nil
}

// life is how long a certificate of the node is valid. A life that cannot be read does not
// keep the node from its certificate.
func (h *Handler) life(ctx context.Context, node string) time.Duration {
	if h.cfg.Lives == nil {
		return h.cfg.Life
	}
	own, err := h.cfg.Lives.Life(ctx, node)
	if err != nil {
		h.cfg.Logger.Warn("the life of the node's certificate cannot be read: it gets the default", "node", node, "life", h.cfg.Life, "err", err)
	}
	if err != nil || own == 0 {
		return h.cfg.Life
	}
	return min(max(own, h.cfg.MinLife), h.cfg.MaxLife)
}

// shareOf returns when that share of the certificate's life is over.
func shareOf(c *x509.Certificate, share float64) time.Time {
	return c.NotBefore.Add(time.Duration(share * float64(c.NotAfter.Sub(c.NotBefore)))).Truncate(time.Second).UTC()
}

// renewHeader is the PEM header of a saved certificate with Credentials.RenewAt. Earlier
// versions ignore it.
const renewHeader = "Renew-At"

// renewAt is when the certificate is renewed.
func (c Credentials) renewAt() time.Time {
	if c.RenewAt.After(c.Leaf.NotBefore) && c.RenewAt.Before(c.Leaf.NotAfter) {
		return c.RenewAt
	}
	return twoThirds(c.Leaf)
}
