package preflight

import (
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/hub/join"
)

// checkKeyFile looks who may read the node's key.
func (e *env) checkKeyFile() []Result {
	name := filepath.Join(e.cfg.DataDir, nodejoin.IdentityDir, join.File)
	info, err := os.Stat(e.path(name))
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return []Result{failure("chmod 600 "+name+"; if others have used this machine: edgectl node revoke NODE, and join again", "the key of the node can be read by others than root (%s)", info.Mode().Perm())}
}
