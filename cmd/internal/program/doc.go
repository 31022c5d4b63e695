// Package program is what edgekit's three programs share: flags, a YAML configuration file
// and environment variables with one name for each setting, "config print", the logger,
// signals, and the report of a failure.
//
// The name of a setting is that of its flag. In the file it is a key of that name, in the
// environment the name in capitals after the program's name: --mqtt-listen,
// "mqtt-listen:" and EDGECORE_MQTT_LISTEN are the same setting. A flag overrides the
// environment, which overrides the file, which overrides the default.
//
// A program that fails writes one line to its standard error: what is wrong, where, and
// what to do. Its exit code is 2 if the command line or the file is wrong, 3 if it must not
// be restarted automatically, and 1 otherwise.
package program
