"""Code that was rewritten and gives what it gave, bit for bit: it voids no record.

Each entry was compared before it was written, with tests/bits.py on the version before and after:
weights after three updates of every stage in both precisions, losses, restored pictures, patches,
whole trainings. One whose code changes again is dead, and tests/test_digest.py asks for its end.
"""

EQUAL = {
    "024ee69a10441078": "303b55e9af2cbc5e",  # the training loop
    "43650225485dc90a": "39eab90ee25f86b2",  # methods.cas_gan.Overshoot
    "b9e333d0831e7e81": "341b16e50c62d6a5",  # methods.cas_gan.CASGAN
    "b0b1f3b27050fd9a": "facaf61131eceb4e",  # methods.cas_gan.SharpenedESRGAN
    "5a652950fdb89d8c": "a3ee8b82ec308eb0",  # methods.cas_gan.RRDBNetFromRaw
    "d26454e0c1731536": "165948e95d0d3de9",  # methods.cas_gan.LLCGAN
    "bc29c7e857b4de01": "9f1e226e7828d371",  # methods.cas_gan.LowLightCASGAN
    "42f7dafe9a4881be": "fc09f7d56c8bf2ed",  # methods.dped.DPED
    "1f1cf908c6d03507": "e8febca3161ed0dc",  # methods.esrgan.RRDBNet
    "34369e8d62df3999": "2884251bbf04bc59",  # methods.esrgan.ESRGAN
    "84f3eea749add4c0": "ec7ec8b34eaf74d8",  # methods.fsrcnn.FSRCNN
    "ce751734b82cab3b": "50bd137ee29402e4",  # methods.ppcn.Teacher
    "311f61e3f9cf9148": "535692e2a1237811",  # methods.ppcn.Student
    "85a059097e806655": "bb727a07855c93b6",  # methods.prad.PRaD
    "1d7503e069bf3aca": "6930020079bd22d3",  # methods.rescnn_gan.CNN
    "94a5b555f0d28f7b": "5e3c7cb6c6d76ee2",  # methods.rescnn_gan.ResCNN
    "900eb4469270b95a": "a24074b94d14dc76",  # methods.rescnn_gan.GAN
}
"""Digest of code as it is today -> that under which its results are recorded."""
