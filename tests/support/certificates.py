"""A certificate authority and a server's certificate for 127.0.0.1 and localhost, made with the JDK's keytool.

New ones are made for every broker folder and are worth nothing outside it, so the password is no secret.
"""

import os
import subprocess

PASSWORD = "changeit"
VALID_DAYS = "30"


def make(folder):
    """Makes `ca.pem` (for clients to trust) and `server.p12` (PKCS12: key and chain, password `PASSWORD`) in `folder`."""
    path = {name: os.path.join(folder, name) for name in ("ca.p12", "ca.pem", "server.p12", "server.csr", "server.pem")}
    authority, server = ["-alias", "ca", "-keystore", path["ca.p12"]], ["-alias", "server", "-keystore", path["server.p12"]]
    new_key = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", VALID_DAYS]
    keytool(*new_key, *authority, "-dname", "CN=weir-tests", "-ext", "bc:c")
    keytool("-exportcert", "-rfc", *authority, "-file", path["ca.pem"])
    keytool(*new_key, *server, "-dname", "CN=localhost")
    keytool("-certreq", *server, "-file", path["server.csr"])
    keytool("-gencert", "-rfc", *authority, "-ext", "san=ip:127.0.0.1,dns:localhost", "-validity", VALID_DAYS,
            "-infile", path["server.csr"], "-outfile", path["server.pem"])
    # The key store takes a signed certificate only when it knows who signed it.
    keytool("-importcert", "-noprompt", "-alias", "ca", "-keystore", path["server.p12"], "-file", path["ca.pem"])
    keytool("-importcert", "-noprompt", *server, "-file", path["server.pem"])


def keytool(command, *arguments):
    """Runs one keytool command; ends the program with its words if it fails."""
    made = subprocess.run(["keytool", command, *arguments, "-storepass", PASSWORD, "-storetype", "PKCS12"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if made.returncode != 0:
        raise SystemExit(f"certificates.py: keytool {command}:\n{made.stdout}{made.stderr}")
