package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/sdnotify"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// defaultConfig is the configuration file, and defaultData the data folder.
const (
	defaultConfig = "/etc/edgekit/edgecore.yaml"
	defaultData   = "/var/lib/edgekit"
)

// shortCommands are the commands that are not the agent, with their aliases.
var shortCommands = [...]string{"join", "store", "state", "config"}

// isAgent reports whether arguments start the agent, and not a short command, --help or
// --version.
func isAgent(args []string) bool {
	return !slices.ContainsFunc(args, func(arg string) bool {
		return slices.Contains(shortCommands[:], arg) || slices.Contains([]string{"--help", "-h", "--version"}, arg)
	})
}

// argument is the value of a flag among arguments, the last one; "" if it is not there.
func argument(args []string, name string) string {
	value := ""
	for i, arg := range args {
		if rest, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			value = rest
		}
		if arg == "--"+name && i+1 < len(args) {
			value = args[i+1]
		}
	}
	return value
}

// configFile is the configuration file that arguments name, or the default.
func configFile(args []string) string {
	if name := argument(args, "config"); name != "" {
		return name
	}
	return defaultConfig
}

// dataDir finds the data folder before the flags are parsed: the program that runs may be
// another one than this, with other flags.
func dataDir(args []string) string {
	if dir := argument(args, "data-dir"); dir != "" {
		return dir
	}
	if dir := os.Getenv("EDGECORE_DATA_DIR"); dir != "" {
		return dir
	}
	if dir := program.FileSetting(configFile(args), "data-dir"); dir != "" {
		return dir
	}
	return defaultData
}

// starts is how this process began.
type starts struct {
	program  upgrade.Start
	settings upgrade.SettingsStart
	again    bool // the agent has ended in order, and is to start again
	asked    bool // somebody asked the agent to end
}

// bootProgram replaces this process by the program that the node is to run, or returns if that is
// this one. It comes first, before all else.
func bootProgram(args []string) starts {
	return starts{program: upgrade.Boot(upgrade.BootConfig{DataDir: dataDir(args), Command: !isAgent(args)})}
}

// bootSettings prepares the settings of an agent, before they are read.
func (s starts) bootSettings(args []string) starts {
	if isAgent(args) {
		s.settings = upgrade.BootSettings(dataDir(args))
	}
	return s
}

// stopped notes that an agent on trial was asked to end before it ran: it has not failed.
func (s starts) stopped(log *slog.Logger) {
	if err := errors.Join(s.program.Stopped(), s.settings.Stopped()); err != nil {
		log.Warn("it cannot be noted that a program on trial ends in order: the next start takes it back", "err", err)
	}
}

// exit is what the process ends with. If the agent is to start again, or what it tries has failed,
// exit starts it in the place of this process and returns only if that fails; systemd must
// start it then, so that the code is never that of wrong settings. An agent that was asked to end
// does: the next start goes on with what is tried.
func (s starts) exit(code int) int {
	failed := code != 0 && (s.program.Trial || s.settings.Trial)
	if s.asked || !s.again && !failed {
		return code
	}
	if err := sdnotify.Replaced(); err != nil {
		fmt.Fprintf(os.Stderr, "edgecore: systemd cannot be notified: %v\n", err)
	}
	err := s.program.Restart()
	fmt.Fprintf(os.Stderr, "edgecore: it cannot start itself again, systemd must: %v\n", err)
	return 1
}
