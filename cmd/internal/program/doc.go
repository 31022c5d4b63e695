// Package program is what edgekit's three programs share: flags, a YAML
// configuration file and environment variables with one name for each
// setting, "config print", the logger, signals, and how a failure is reported.
//
// A setting has one name, that of its flag. In the file it is a key of that
// name, in the environment it is the name in capitals behind the program's:
// --mqtt-listen, "mqtt-listen:" and EDGECORE_MQTT_LISTEN are the same. A flag
// wins over the environment, which wins over the file, which wins over the
// default.
//
// A program that fails writes one line to its standard error: what is wrong,
// where, and what to do. It exits with 1, with 2 where the command line or the
// file is at fault, and with 3 where it must not be started again by itself.
package program
