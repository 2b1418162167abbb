"""Real targets on this machine: Linux hosts with their own sshd (hosts), a Samba domain controller (samba)."""
