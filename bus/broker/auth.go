package broker

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Passwords makes a Config.Authenticate that accepts the user names and passwords
// in the map. The map is copied. The comparison takes the same time for every
// password.
func Passwords(users map[string]string) func(Login) bool {
	hashed := make(map[string][sha256.Size]byte, len(users))
	for name, password := range users {
		hashed[name] = sha256.Sum256([]byte(password))
	}
	return func(login Login) bool {
		want, known := hashed[login.Username]
		got := sha256.Sum256(login.Password)
		return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && known
	}
}
