package access

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

const (
	maxUsersFile = 2 << 20
	maxUsers     = 10_000
	maxName      = 256 // bytes of a user's name
	maxPassword  = 512 // bytes of a password that is not a token
	minRounds    = 1
	maxRounds    = 1_000_000
	// fewRounds is below what resists guessing if the file is stolen. mosquitto_passwd
	// makes 101.
	fewRounds = 1000
	// DefaultRounds is what Hash uses for 0.
	DefaultRounds = 20_000
	hashSize      = sha512.Size
)

// account is one user of the file.
type account struct {
	secret
	// good is the keyed hash of the password that was right last; so a client that connects
	// again costs nothing.
	good atomic.Pointer[[sha256.Size]byte]
}

// secret is a hashed password.
type secret struct {
	salt   []byte
	hash   [hashSize]byte
	rounds int
}

func (s *secret) check(password []byte) bool {
	got, err := pbkdf2.Key(sha512.New, string(password), s.salt, s.rounds, hashSize)
	return err == nil && subtle.ConstantTimeCompare(got, s.hash[:]) == 1
}

// Hash returns the line of a users file for a user, without its end: PBKDF2 with SHA-512 and
// a new salt, as mosquitto_passwd writes it. rounds is the cost; 0 means DefaultRounds.
func Hash(user string, password []byte, rounds int) (string, error) {
	if rounds == 0 {
		rounds = DefaultRounds
	}
	switch {
	case !validUser(user) || strings.Contains(user, ":") || user[0] == '#' || !utf8.ValidString(user):
		return "", fmt.Errorf("bus/access: user %.100q: a name has no colon and no line end, does not begin with # or %q, and is not %q", user, systemPrefix, anonymousName)
	case len(password) == 0 || len(password) > maxPassword:
		return "", fmt.Errorf("bus/access: a password has 1 to %d bytes", maxPassword)
	case rounds < minRounds || rounds > maxRounds:
		return "", fmt.Errorf("bus/access: rounds is %d: it must be between %d and %d", rounds, minRounds, maxRounds)
	}
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	hash, err := pbkdf2.Key(sha512.New, string(password), salt, rounds, hashSize)
	if err != nil {
		return "", fmt.Errorf("bus/access: %w", err)
	}
	encode := base64.StdEncoding.EncodeToString
	return user + ":$7$" + strconv.Itoa(rounds) + "$" + encode(salt) + "$" + encode(hash), nil
}

// FileError says what is wrong in a file and how to mend it.
type FileError struct {
	File   string
	Line   int // from 1; 0 for the whole file
	Reason string
	Err    error // of the system, if it is the cause
}

func (e *FileError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	return "bus/access: " + at + ": " + e.Reason
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// parseUsers reads a users file. weak is how many users have a hash with few rounds. The
// error has no File.
func parseUsers(text []byte) (users map[string]*account, weak int, err *FileError) {
	if len(text) > maxUsersFile {
		return nil, 0, &FileError{Reason: fmt.Sprintf("the file has more than %d bytes: it is no users file", maxUsersFile)}
	}
	users = make(map[string]*account)
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		name, s, bad := parseUser(string(line))
		switch {
		case bad != nil:
		case users[name] != nil:
			bad = fmt.Errorf("user %.100q is there twice: remove one line", name)
		case len(users) >= maxUsers:
			bad = fmt.Errorf("there are more than %d users", maxUsers)
		}
		if bad != nil {
			return nil, 0, &FileError{Line: number, Reason: bad.Error()}
		}
		if s.rounds < fewRounds {
			weak++
		}
		users[name] = &account{secret: s}
	}
	return users, weak, nil
}

// parseUser reads name:$7$rounds$salt$hash.
func parseUser(line string) (string, secret, error) {
	var s secret
	name, hash, ok := strings.Cut(line, ":")
	switch {
	case !ok:
		return "", s, errors.New("want NAME:HASH: make the line with mosquitto_passwd or edgectl mqtt passwd")
	case !validUser(name) || !utf8.ValidString(name):
		return "", s, fmt.Errorf("user %.100q: a name is UTF-8 of 1 to %d bytes, does not begin with %q, and is not %q", name, maxName, systemPrefix, anonymousName)
	case strings.HasPrefix(hash, "$6$"), strings.HasPrefix(hash, "$argon2"):
		return "", s, fmt.Errorf("user %.100q: this kind of hash is not supported: make it with mosquitto_passwd -H sha512-pbkdf2 or edgectl mqtt passwd", name)
	case !strings.HasPrefix(hash, "$7$"):
		return "", s, fmt.Errorf("user %.100q: the password is not hashed: mosquitto_passwd -U FILE hashes all passwords of a file", name)
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 5 {
		return "", s, fmt.Errorf("user %.100q: the hash is not $7$ROUNDS$SALT$HASH: make it again", name)
	}
	var err error
	if s.rounds, err = strconv.Atoi(parts[2]); err != nil || s.rounds < minRounds || s.rounds > maxRounds {
		return "", s, fmt.Errorf("user %.100q: the number of rounds is not between %d and %d: make the hash again", name, minRounds, maxRounds)
	}
	if s.salt, err = base64.StdEncoding.DecodeString(parts[3]); err != nil || len(s.salt) < 8 || len(s.salt) > 64 {
		return "", s, fmt.Errorf("user %.100q: the salt is not base64 of 8 to 64 bytes: make the hash again", name)
	}
	digest, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(digest) != hashSize {
		return "", s, fmt.Errorf("user %.100q: the hash is not base64 of %d bytes: make it again", name, hashSize)
	}
	copy(s.hash[:], digest)
	return strings.Clone(name), s, nil
}

// certificateUser returns the user that a client certificate names.
func certificateUser(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	}
	return ""
}
