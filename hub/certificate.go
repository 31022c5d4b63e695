package hub

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// TLS alerts by which a peer refuses a certificate (RFC 8446 section 6.2).
const (
	alertBadCertificate      = 42
	alertUnsupported         = 43
	alertRevoked             = 44
	alertExpired             = 45
	alertUnknown             = 46
	alertUnknownCA           = 48
	alertAccessDenied        = 49
	alertCertificateRequired = 116
)

// CertificateError is for transports: what a Dial, or the first use of its Conn,
// returns when the server refused the edge's certificate by that TLS alert. It
// is nil for alerts that are about something else. All are final but one: a
// certificate that has expired may have been renewed by the next attempt.
func CertificateError(alert uint8) *Error {
	switch alert {
	case alertExpired:
		return &Error{Code: CodeUnavailable, Text: "the cloud finds this node's certificate expired: it must be renewed, or the node joined again; check both clocks"}
	case alertCertificateRequired:
		return &Error{Code: CodeForbidden, Text: "the link needs a client certificate: join this node first"}
	case alertUnknownCA:
		return &Error{Code: CodeForbidden, Text: "this node's certificate is not of this cloud's authority: join this node again"}
	case alertRevoked, alertAccessDenied:
		return &Error{Code: CodeForbidden, Text: "the cloud does not admit this node's certificate any more: join this node again"}
	case alertBadCertificate, alertUnsupported, alertUnknown:
		return &Error{Code: CodeForbidden, Text: "the cloud refuses this node's certificate: join this node again"}
	}
	return nil
}

// unverified adds to the failure of a dial what to do about a server whose
// certificate does not hold here; every other error stays as it is.
func unverified(err error, now time.Time) error {
	failed, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return err
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](failed.Err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the cloud's certificate is not valid at this machine's time, %s: set the clock, or renew the cloud's certificate: %w",
			now.UTC().Format(time.RFC3339), err)
	}
	return fmt.Errorf("the cloud's certificate is not one that this node trusts: check the address, or join this node again: %w", err)
}
