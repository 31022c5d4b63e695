package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
)

// The reasons for which a Client has no connection.
const (
	ReasonStarting       = "Starting"       // no try has ended yet
	ReasonUnreachable    = "Unreachable"    // nothing listens there, the name is not known, or there is no route
	ReasonNoAnswer       = "NoAnswer"       // it does not answer in time
	ReasonTLSFailed      = "TLSFailed"      // the certificate of one side is not accepted by the other, or it speaks no TLS
	ReasonBadCredentials = "BadCredentials" // user name or password is wrong
	ReasonNotAuthorized  = "NotAuthorized"  // the user may not connect, or not with this client identifier
	ReasonRefused        = "Refused"        // the broker refuses for another reason
	ReasonConnectionLost = "ConnectionLost" // the connection ended, and no try since has ended
)

// Status says whether a Client is connected, and why not.
type Status struct {
	Connected bool
	Since     time.Time // when Connected was set or cleared last
	Reason    string    // one of the constants; empty while connected
	Err       error     // what the last try said; nil while connected
}

// Status returns the state of the connection. A connection that was lost keeps its Since
// while tries fail.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// setStatus notes how a try to connect ended, or that the connection did; nil is success.
func (c *Client) setStatus(reason string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if connected := err == nil; connected != c.status.Connected || c.status.Since.IsZero() {
		c.status.Connected, c.status.Since = connected, time.Now()
	}
	c.status.Reason, c.status.Err = reason, err
}

// reasonOf finds the reason for a try to connect that failed.
func reasonOf(err error) string {
	var refused *autopaho.ConnackError
	if errors.As(err, &refused) {
		switch refused.ReasonCode {
		case 0x86:
			return ReasonBadCredentials
		case 0x85, 0x87, 0x8a:
			return ReasonNotAuthorized
		}
		return ReasonRefused
	}
	var handshake *handshakeError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return ReasonNoAnswer
	case errors.As(err, &handshake), errors.As(err, new(tls.AlertError)): // TLS 1.3 refuses a client's certificate later
		return ReasonTLSFailed
	}
	return ReasonUnreachable
}

// handshakeError is a TLS handshake that failed.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }

// Unwrap returns the cause.
func (e *handshakeError) Unwrap() error { return e.err }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// answerTimeout is how long the broker may leave a message of this connection unacknowledged.
const answerTimeout = time.Minute

// errSilent is why a connection is closed on which the broker answers only pings.
var errSilent = errors.New("the broker does not acknowledge messages or subscriptions")

// Reconnect closes the connection to the broker, if there is one. The next one is made at once,
// with all subscriptions: for a user who gets no answers although the connection is there.
// It implements bus.Reconnector.
func (c *Client) Reconnect() {
	c.mu.Lock()
	raw := c.raw
	c.mu.Unlock()
	if raw != nil {
		_ = raw.Close() // paho notices
	}
}

// checkAnswers reconnects if the broker has left a message unacknowledged for too long.
func (c *Client) checkAnswers(now time.Time) {
	status := c.Status()
	if oldest := c.session.oldest(); status.Connected && !oldest.IsZero() && now.Sub(oldest) > answerTimeout && now.Sub(status.Since) > answerTimeout {
		c.log.Warn("MQTT broker is connected again", "err", errSilent)
		c.Reconnect()
	}
}
