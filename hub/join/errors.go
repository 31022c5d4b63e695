package join

import (
	"errors"
	"fmt"
)

// The reasons for which joining fails. Those of the cloud reach the edge as
// the same errors.
var (
	// ErrTokenMalformed: the text is not a token. Remedy: copy it whole.
	ErrTokenMalformed = errors.New("join: this is not a token: want edgekit.<id>.<secret>.<pin>")
	// ErrTokenInvalid: the cloud does not know the token, or its secret is
	// wrong. Remedy: make a new token.
	ErrTokenInvalid = errors.New("join: the token is not valid: create a new one")
	// ErrTokenExpired: its time has passed. Remedy: make a new token.
	ErrTokenExpired = errors.New("join: the token has expired: create a new one")
	// ErrTokenUsed: another machine has used it. Remedy: make a new token.
	ErrTokenUsed = errors.New("join: the token was already used by another machine: create a new one")
	// ErrTokenNode: it is for other node names.
	ErrTokenNode = errors.New("join: the token is not for this node name: use the name it was created for")
	// ErrNodeName: the name cannot be a node's.
	ErrNodeName = errors.New("join: not a node name: want lower-case letters, digits, '-' and '.', as in DNS, at most 253")
	// ErrNameInUse: the name belongs to a machine with another key.
	ErrNameInUse = errors.New("join: the node name is in use by another machine: choose another name, or remove that node first")
	// ErrPin: the server's certificate is not signed by the authority that the
	// token names. Remedy: check the address; make a new token if the cloud
	// was installed anew.
	ErrPin = errors.New("join: the server is not the one that the token was made for: check the address, or create a new token")
	// ErrServerName: the server's certificate is good but not for the host in
	// the URL.
	ErrServerName = errors.New("join: the server's certificate does not name this host")
	// ErrUnreachable: there was no answer.
	ErrUnreachable = errors.New("join: the cloud cannot be reached: check the address, port and firewall")
	// ErrClock: by this machine's clock the server's certificate, or its
	// authority's, has ended. Remedy: set the clocks; join again if they are
	// right.
	ErrClock = errors.New("join: a certificate of the cloud has expired by this machine's clock: check the clocks of both, and join again if they are right")
	// ErrExpired: the certificate ran out longer ago than the cloud's grace
	// period. Remedy: join again.
	ErrExpired = errors.New("join: the certificate expired too long ago to be renewed: join this node again")
	// ErrRevoked: an operator made this key worthless. Remedy: join again,
	// with a new token and a new key.
	ErrRevoked = errors.New("join: this machine's key was revoked: join this node again with a new token and a new key")
	// ErrPending: the join waits until an operator approves it. Remedy: ask again, with the
	// same key and token; see JoinWhenApproved.
	ErrPending = errors.New("join: the join waits for approval by an operator")
	// ErrDenied, ErrRetired and ErrReplaced are ErrRevoked, and say why. At the edge they
	// are ErrRevoked with the same text.
	ErrDenied   error = revokedError("join: an operator denied this machine: join it again with a new token and a new key, or choose another name")
	ErrRetired  error = revokedError("join: this node was retired by an operator: its pods go on, without the cloud, until the machine is switched off or set up anew")
	ErrReplaced error = revokedError("join: another machine has taken this node's place: this one's pods go on, without the cloud, until it is switched off or set up anew")
	// ErrBusy: the cloud is asked too much, or was given too many bad tokens
	// from this address. Remedy: wait.
	ErrBusy = errors.New("join: the cloud takes no more requests from this address for now: wait a minute and try again")
	// ErrIdentity: a renewal came without a certificate that may be renewed.
	ErrIdentity = errors.New("join: the certificate cannot be renewed: join this node again")
	// ErrRequest: the cloud does not understand the request, most likely because the
	// versions differ.
	ErrRequest = errors.New("join: the cloud does not understand the request")
	// ErrServer: the cloud failed. Trying again may help.
	ErrServer = errors.New("join: the cloud failed, see its log")
	// ErrCA: an authority cannot be used; the error that wraps it says why.
	ErrCA = errors.New("join: the certificate authority cannot be used")
	// ErrStage: a rotation of authorities is not at that stage.
	ErrStage = errors.New("join: the rotation of authorities is at another stage")
	// ErrNoCredentials: the folder holds none yet. Remedy: join first.
	ErrNoCredentials = errors.New("join: this node has not joined yet")
	// ErrCredentials: the file is there but cannot be used.
	ErrCredentials = errors.New("join: the credentials cannot be used: join again")
)

// wire gives each error that crosses the wire its code and status there. Codes
// never change their meaning.
var wire = []struct {
	code   string
	status int
	err    error
}{
	{"token-invalid", 403, ErrTokenInvalid},
	{"token-expired", 403, ErrTokenExpired},
	{"token-used", 403, ErrTokenUsed},
	{"token-node", 403, ErrTokenNode},
	{"node-name", 400, ErrNodeName},
	{"name-in-use", 409, ErrNameInUse},
	{"identity", 403, ErrIdentity},
	{"expired", 403, ErrExpired},
	{"revoked", 403, ErrRevoked},
	{"pending", 202, ErrPending},
	{"busy", 429, ErrBusy},
	{"request", 400, ErrRequest},
	{codeServer, 500, ErrServer},
}

// codeOf returns an error's code and status on the wire; every other error is an
// ErrServer there.
func codeOf(err error) (code string, status int) {
	if err == nil {
		return codeOK, 200
	}
	for _, e := range wire {
		if errors.Is(err, e.err) {
			return e.code, e.status
		}
	}
	return codeServer, 500
}

// revokedError is an ErrRevoked that says why the key was revoked.
type revokedError string

func (e revokedError) Error() string { return string(e) }

// Is makes it an ErrRevoked.
func (e revokedError) Is(target error) bool { return target == ErrRevoked }

// NameInUseError is an ErrNameInUse with details from the store.
type NameInUseError struct {
	Node   string
	Remedy string // what the operator should do, in words; empty for the usual
}

// Error names the node and what to do.
func (e *NameInUseError) Error() string {
	remedy := e.Remedy
	if remedy == "" {
		remedy = "choose another name, or remove that node first"
	}
	return fmt.Sprintf("join: the node name %q is in use by another machine: %s", e.Node, remedy)
}

// Is makes it an ErrNameInUse.
func (e *NameInUseError) Is(target error) bool { return target == ErrNameInUse }

// remoteError is the cloud's error as the edge sees it.
type remoteError struct {
	kind error
	text string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }
